"""Python programs as prompts, each in a process of its own that may do little."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import anyio
import anyio.to_thread
from anyio.abc import Process

from sprint_agent.errors import ExecutorError, PromptError
from sprint_agent.executors.json_prompts import unfenced
from sprint_agent.task import Task

_POSIX = os.name == "posix"
_CHILD = Path(__file__).with_name("child.py")
_FLAGS = ("-I", "-S", "-B", "-u", "-X", "utf8")
"""No environment, no installed packages, no files of bytecode, nothing held back, UTF-8."""
_PROGRAM = "main.py"
_ALONE = ".alone"
"""Is in the program's folder where it has namespaces of its own."""
_PARTING_SECONDS = 2.0
"""How long the end of a killed process is waited for."""
_TAIL_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class PythonExecutor:
    """Runs its prompt, a Python program, in a process of its own; the text is what that prints.

    The program has Python's standard library and nothing else: no installed packages, no input, no
    environment variables but HOME and TMPDIR, which are a folder of its own that goes with it. It
    may take `seconds` of time, `memory` bytes of address space and write files of 16 MiB; of what
    it prints, the first `output` bytes are returned. When it ends, or the execution is cancelled,
    its process group is killed.

    It may start neither processes nor threads, unless you are the superuser. On Linux, where the
    kernel lets an unprivileged process have namespaces, it also has no network, and nothing that it
    started outlives it. Where it does not (many containers, hardened hosts), the run goes on
    without, and the task's logger warns of it. macOS has neither, and does not hold `memory`.
    Windows is not supported.

    **This is no security boundary by itself.** It keeps mistakes of a model in bounds, not attacks:
    the program runs as your user and reads whatever that user can read; sockets in the file system
    are within its reach; nothing filters its system calls. For programs that you do not trust, run
    the whole application in a container or a virtual machine that holds nothing worth taking.

    A program that fails, or takes too long, is a PromptError: the same would fail again. Raises
    ValueError for a bound that is not positive.
    """

    name: str = "python"
    description: str = "Runs a Python program (standard library only) and returns what it prints."
    seconds: float = 10.0
    memory: int = 512 * 1024 * 1024
    output: int = 32_000

    def __post_init__(self) -> None:
        for name in ("seconds", "memory", "output"):
            if getattr(self, name) <= 0:
                raise ValueError(f"the limit {name} must be positive, not {getattr(self, name)}")

    @property
    def schema(self) -> None:
        """None: its prompts are plain text."""

    async def execute(self, task: Task) -> str:
        """What the program prints, on stdout and stderr. Raises PromptError where it fails."""
        if not _POSIX:
            raise ExecutorError("the Python executor needs Linux or macOS")
        async with _folder() as folder:
            (folder / _PROGRAM).write_text(unfenced(task.prompt) + "\n", "utf-8")
            with tempfile.TemporaryFile() as printed:
                status = await self._run(folder, printed)
                if not (folder / _ALONE).exists():
                    task.logger.warning("the program could reach the network: no namespaces here")
                text = self._read(printed)
        if status is None:
            raise PromptError(f"the program ran longer than {self.seconds:g} s{_tail(text)}")
        if status != 0:
            how = f"status {status}" if status > 0 else f"signal {-status}"
            raise PromptError(f"the program ended with {how}{_tail(text)}")
        return text or "The program printed nothing."

    async def _run(self, folder: Path, printed: IO[bytes]) -> int | None:
        """The program's exit status (negative: a signal), None where its time was up."""
        python = [sys.executable, *_FLAGS]
        limits = [str(self.memory), str(math.ceil(self.seconds) + 1)]
        # Its start is waited for in any case: a process that nobody knows of could not be killed.
        process: Process | None = None
        with anyio.CancelScope(shield=True):
            process = await anyio.open_process(
                [*python, str(_CHILD), *limits, _ALONE, *python, _PROGRAM],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                cwd=folder,
                env={"HOME": str(folder), "TMPDIR": str(folder)},
                start_new_session=True,
            )
        assert process is not None
        try:
            with anyio.move_on_after(self.seconds):
                return await process.wait()
            return None
        finally:
            # Also after its own end: what it started is in its group.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            with anyio.move_on_after(_PARTING_SECONDS, shield=True):
                await process.wait()

    def _read(self, printed: IO[bytes]) -> str:
        size = printed.seek(0, os.SEEK_END)
        printed.seek(0)
        text = printed.read(self.output).decode("utf-8", "replace")
        return text if size <= self.output else f"{text}\n[{size - self.output} more left out]"


@asynccontextmanager
async def _folder() -> AsyncGenerator[Path]:
    """A folder that is gone afterwards, with all that is in it."""
    folder = tempfile.TemporaryDirectory(prefix="sprint-", ignore_cleanup_errors=True)
    try:
        yield Path(folder.name)
    finally:
        # A place of its own, since waiting for one of the shared threads could not be cancelled.
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(folder.cleanup, limiter=anyio.CapacityLimiter(1))


def _tail(text: str) -> str:
    cut = "…" if len(text) > _TAIL_CHARACTERS else ""
    return f"; it printed: {cut}{text[-_TAIL_CHARACTERS:]}" if text else ""
