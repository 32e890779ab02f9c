"""Runs prompts that are Python programs, each in its own restricted process."""

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
"""No environment, no installed packages, no bytecode files, unbuffered output, UTF-8."""
_PROGRAM = "main.py"
_ISOLATED = ".alone"
"""A file in the program's folder that exists if the process has its own namespaces."""
_KILL_SECONDS = 2.0
"""How long to wait for a killed process to end."""
_TAIL_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class PythonExecutor:
    """Runs its prompt, a Python program, in a separate process and returns what it prints.

    The program has Python's standard library only: no installed packages, no input, and no
    environment variables except HOME and TMPDIR. Both name a temporary folder of the program. It
    may write files of up to 16 MiB. When it ends, or when the execution is cancelled, its process
    group is killed and the folder is deleted.

    It cannot start processes or threads, unless you are the superuser. On Linux it also has no
    network, and nothing that it started outlives it, if the kernel lets an unprivileged process
    create namespaces. If the kernel does not (many containers, hardened hosts), the program runs
    without this protection and the task's logger warns. macOS has no such namespaces and does not
    enforce `memory`. Windows is not supported.

    **This alone is not a security boundary.** It contains mistakes of a model, not attacks. The
    program runs as your user and can read whatever that user can read. It can reach sockets in the
    file system, and nothing filters its system calls. For programs that you do not trust, run the
    whole application in a container or a virtual machine that contains nothing worth stealing.

    Raises:
        ValueError: a bound is not positive.
    """

    name: str = "python"
    description: str = "Runs a Python program (standard library only) and returns what it prints."
    seconds: float = 10.0
    """The most seconds that the program may run."""
    memory: int = 512 * 1024 * 1024
    """The most bytes of address space."""
    output: int = 32_000
    """How many bytes of the printed text are returned. The rest is left out."""

    def __post_init__(self) -> None:
        for name in ("seconds", "memory", "output"):
            if getattr(self, name) <= 0:
                raise ValueError(f"the limit {name} must be positive, not {getattr(self, name)}")

    @property
    def schema(self) -> None:
        """None: the prompts are plain text."""

    async def execute(self, task: Task) -> str:
        """Returns what the program prints on stdout and stderr.

        Raises:
            PromptError: the program failed or took too long. The same program would fail again.
            ExecutorError: the platform is not supported.
        """
        if not _POSIX:
            raise ExecutorError("the Python executor needs Linux or macOS")
        async with _folder() as folder:
            (folder / _PROGRAM).write_text(unfenced(task.prompt) + "\n", "utf-8")
            with tempfile.TemporaryFile() as printed:
                status = await self._run(folder, printed)
                if not (folder / _ISOLATED).exists():
                    task.logger.warning("no namespaces here: the program could reach the network")
                text = self._read(printed)
        if status is None:
            raise PromptError(f"the program ran longer than {self.seconds:g} s{_tail(text)}")
        if status != 0:
            how = f"status {status}" if status > 0 else f"signal {-status}"
            raise PromptError(f"the program ended with {how}{_tail(text)}")
        return text or "The program printed nothing."

    async def _run(self, folder: Path, printed: IO[bytes]) -> int | None:
        """Returns the exit status (negative: a signal), or None if the program ran out of time."""
        python = [sys.executable, *_FLAGS]
        limits = [str(self.memory), str(math.ceil(self.seconds) + 1)]
        # Not cancelled while it starts: an unknown process could not be killed.
        process: Process | None = None
        with anyio.CancelScope(shield=True):
            process = await anyio.open_process(
                [*python, str(_CHILD), *limits, _ISOLATED, *python, _PROGRAM],
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
            # Also if it ended by itself: what it started is in its group.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            with anyio.move_on_after(_KILL_SECONDS, shield=True):
                await process.wait()

    def _read(self, printed: IO[bytes]) -> str:
        size = printed.seek(0, os.SEEK_END)
        printed.seek(0)
        text = printed.read(self.output).decode("utf-8", "replace")
        return text if size <= self.output else f"{text}\n[{size - self.output} more left out]"


@asynccontextmanager
async def _folder() -> AsyncGenerator[Path]:
    """Creates a folder and deletes it with its contents at the end of the block."""
    folder = tempfile.TemporaryDirectory(prefix="sprint-", ignore_cleanup_errors=True)
    try:
        yield Path(folder.name)
    finally:
        # With its own limiter: waiting for one of the shared threads could not be cancelled.
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(folder.cleanup, limiter=anyio.CapacityLimiter(1))


def _tail(text: str) -> str:
    cut = "…" if len(text) > _TAIL_CHARACTERS else ""
    return f"; it printed: {cut}{text[-_TAIL_CHARACTERS:]}" if text else ""
