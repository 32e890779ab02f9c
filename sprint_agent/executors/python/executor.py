"""Runs prompts that are Python programs, each in its own restricted process."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

import anyio
from anyio.abc import Process

from sprint_agent.errors import ExecutorError, PromptError
from sprint_agent.executors.python.confinement import Confinement
from sprint_agent.executors.python.folder import temporary_folder
from sprint_agent.executors.python.program import program_of
from sprint_agent.executors.python.sandbox.request import CONFINED, ENDED, PROGRAM
from sprint_agent.task import Task

_POSIX = os.name == "posix"
_FLAGS = ("-I", "-S", "-B", "-u", "-X", "utf8")
"""No environment, no installed packages, no bytecode files, unbuffered output, UTF-8."""
_START = "import sys; sys.path.insert(0, sys.argv.pop()); from sandbox.start import main; main()"
"""Imports the sandbox alone: the rest of this library would take most of the time."""
_KILL_SECONDS = 2.0
"""How long to wait for a process to end after it was told to."""
_PROBE_SECONDS = 30.0
_TAIL_CHARACTERS = 300
_WITHOUT: tuple[str, ...] = ()
"""Layers that are left out. Tests use it to try the weaker levels."""
_warned: set[Confinement] = set()
"""The confinements that this process has warned of."""


@dataclass(frozen=True, slots=True)
class PythonExecutor:
    """Runs its prompt, a Python program, in a separate process and returns what it prints.

    The program has Python's standard library only: no installed packages, no input, and no
    environment variables except HOME and TMPDIR. Both name a temporary folder of the program. It
    may write files of up to 16 MiB. It can start neither processes nor threads. When it ends, or
    when the execution is cancelled, its processes are killed and the folder is deleted.

    On Linux, Landlock, a filter of system calls, and namespaces keep it from your files, your other
    processes, the network and shared memory. They work without privileges, but not everywhere:
    many containers allow no namespaces, and old kernels have no Landlock. `confinement()` tells
    what works here, and the task's logger warns once if something is missing. macOS has none of
    these layers and does not enforce `memory`. Windows is not supported.

    **Where `confinement().gaps` is empty, this keeps out programs that you do not trust**, as far
    as the kernel has no faults. docs/sandbox.md says what each layer does, and what is not a boundary.

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

    @property
    def max_characters(self) -> int:
        """Enough for `output` and the line that says how much was left out."""
        return self.output + 100

    @staticmethod
    def confinement() -> Confinement:
        """Returns what keeps programs in on this machine. The first call starts a process.

        Raises:
            ExecutorError: the platform is not supported, or the process cannot be started.
        """
        return _probed(_WITHOUT)

    async def execute(self, task: Task) -> str:
        """Returns what the program prints on stdout and stderr.

        Raises:
            PromptError: the program failed or took too long. The same program would fail again.
            ExecutorError: the platform is not supported, or the process cannot be started.
        """
        _check_platform()
        async with temporary_folder() as folder:
            program = program_of(task.prompt).encode("utf-8", "replace")
            (folder / PROGRAM).write_bytes(program)
            with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as reported:
                in_time = await self._run(folder, printed, reported)
                text = self._read(printed)
                reports = _reports(reported)
        if CONFINED in reports:
            _warn_once(task, Confinement.read(reports[CONFINED]))
        if not in_time:
            raise PromptError(f"the program ran longer than {self.seconds:g} s{_tail(text)}")
        if CONFINED not in reports:
            raise ExecutorError(f"the program could not be started{_tail(text)}")
        # A waiter that could not report was killed, by the system for example.
        status = int(reports.get(ENDED, -signal.SIGKILL))
        if status != 0:
            how = f"status {status}" if status > 0 else f"signal {-status}"
            raise PromptError(f"the program ended with {how}{_tail(text)}")
        return text or "The program printed nothing."

    async def _run(self, folder: Path, printed: IO[bytes], reported: IO[bytes]) -> bool:
        """Returns whether the program ended in time."""
        # Not cancelled while it starts: an unknown process could not be killed.
        process: Process | None = None
        with anyio.CancelScope(shield=True):
            process = await anyio.open_process(
                _command(self.memory, math.ceil(self.seconds) + 1),
                stdin=subprocess.DEVNULL,
                stdout=reported,
                stderr=printed,
                cwd=folder,
                env={},
                start_new_session=True,
            )
        assert process is not None
        try:
            with anyio.move_on_after(self.seconds):
                await process.wait()
                return True
            return False
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)

    def _read(self, printed: IO[bytes]) -> str:
        size = printed.seek(0, os.SEEK_END)
        printed.seek(0)
        text = printed.read(self.output).decode("utf-8", "replace")
        return text if size <= self.output else f"{text}\n[{size - self.output} more left out]"


def _command(memory: int, seconds: int) -> list[str]:
    """Returns the command of the process that restricts and keeps a program."""
    request = [str(os.getpid()), str(memory), str(seconds), ",".join(_WITHOUT), *_FLAGS]
    # Without its own bytecode, the keeper would be compiled at each start.
    keeper = ["-I", "-S", "-X", "utf8", *(["-B"] if sys.dont_write_bytecode else [])]
    return [sys.executable, *keeper, "-c", _START, *request, str(Path(__file__).parent)]


async def _end(process: Process) -> None:
    """Tells the keeper of a program to end it, and waits until it has."""
    for kill in (process.terminate, process.kill):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                kill()
            with anyio.move_on_after(_KILL_SECONDS):
                await process.wait()
    # Only what a system without Linux's layers could have left: it is in the keeper's group.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _reports(reported: IO[bytes]) -> dict[str, str]:
    """Returns what a keeper reported: the rest of each line by its first word."""
    reported.seek(0)
    lines = (line.partition(" ") for line in reported.read().decode().splitlines())
    return {word: rest for word, _, rest in lines}


@cache
def _probed(without: tuple[str, ...]) -> Confinement:
    _check_platform()
    with tempfile.TemporaryDirectory(prefix="sprint-") as folder, tempfile.TemporaryFile() as out:
        Path(folder, PROGRAM).touch()
        command = _command(PythonExecutor().memory, math.ceil(_PROBE_SECONDS))
        ended = subprocess.run(
            command,
            cwd=folder,
            env={},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            timeout=_PROBE_SECONDS,
            check=False,
        )
        reports = _reports(out)
    if CONFINED not in reports:
        raise ExecutorError(f"no program can be started: {ended.stderr.decode(errors='replace')}")
    return Confinement.read(reports[CONFINED])


def _check_platform() -> None:
    if not _POSIX:
        raise ExecutorError("the Python executor needs Linux or macOS")


def _warn_once(task: Task, confinement: Confinement) -> None:
    if confinement.gaps and confinement not in _warned:
        _warned.add(confinement)
        task.logger.warning(
            "programs are not fully confined here. A hostile one could %s: see docs/sandbox.md",
            "; ".join(confinement.gaps),
        )


def _tail(text: str) -> str:
    cut = "…" if len(text) > _TAIL_CHARACTERS else ""
    return f"; it printed: {cut}{text[-_TAIL_CHARACTERS:]}" if text else ""
