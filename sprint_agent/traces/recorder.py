"""Writes the trace of a run, and appends to it if the run is resumed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections import Counter
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from sprint_agent.errors import TraceError
from sprint_agent.events import (
    CallStarted,
    Event,
    ExecutionEnded,
    ExecutionStarted,
    ExecutionText,
    NestedEvent,
    PromptReady,
    RunEnded,
    RunFailed,
    StageEnded,
)
from sprint_agent.result import Result
from sprint_agent.traces.trace import VERSION, Record, Trace, record_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class Recorder:
    """Writes a run's events to a file, each before the next one happens.

    One process can write a trace at a time: the file is locked until the recorder is left. If writing
    fails later on, the run continues, and leaving the recorder raises the error with the run's result.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Begins a new trace and overwrites what `path` contains.

        Raises:
            TraceError: The file cannot be written, or another run is writing it.
        """
        self._path = Path(path)
        self._failure: OSError | None = None
        self._result: Result | None = None
        self._written: Counter[Hashable] = Counter()
        self.trace: Trace = Trace(())
        self._file = self._open("ab")
        with contextlib.suppress(OSError):  # a device has nothing to truncate
            self._file.truncate(0)
        self._write({"trace": VERSION})

    @classmethod
    def append(cls, path: str | os.PathLike[str]) -> Self:
        """Continues the trace of a run that has not ended. `trace` is what the file contains.

        What the resumed run reports again, and the file contains already, is not written again.

        Raises:
            TraceError: The file is not a trace, its run has ended with an answer, it cannot be written,
                or another run is writing it.
        """
        self = cls.__new__(cls)
        self._path = Path(path)
        self._failure = None
        self._result = None
        self._file = self._open("r+b")
        try:
            content = self._file.read()
            self.trace = Trace.parse(content, path)
            self._check(self.trace)
            self._written = _written(self.trace)
            # A torn line is removed, so that what follows begins a line.
            self._file.seek(content.rfind(b"\n") + 1)
            self._file.truncate()
        except BaseException:
            self._file.close()
            raise
        self._write({"trace": VERSION})
        return self

    def _check(self, trace: Trace) -> None:
        """Raises TraceError if the run of a trace cannot be resumed."""
        _ = trace.question
        if trace.result is not None and trace.result.limit is None:
            raise TraceError(f"the run of {self._path} has ended: read its result from the trace")

    def _open(self, mode: str) -> IO[bytes]:
        reading = "r" in mode
        try:
            file: IO[bytes] = open(self._path, mode, opener=_open_file)  # noqa: SIM115
        except OSError as error:
            verb = "read" if reading else "write"
            link = error.errno == errno.ELOOP
            reason = "it is a symbolic link, which is not followed" if link else error.strerror
            raise TraceError(f"cannot {verb} the trace {self._path}: {reason}") from error
        except ValueError as error:  # a path with a NUL
            raise TraceError(f"cannot open the trace {str(self._path)!r}: {error}") from error
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.close()
                raise TraceError(
                    f"another run is writing the trace {self._path}: wait until it ends"
                ) from error
            except OSError:  # a file system without locks
                pass
        return file

    def __call__(self, event: Event) -> None:
        """Writes one event."""
        if isinstance(event, RunEnded):
            self._result = event.result
        if self._written and self._written[key := _key(event)] > 0:
            self._written[key] -= 1
            return
        self._write(record_of(event))

    def _write(self, record: Record) -> None:
        if self._failure is not None:
            return
        try:
            self._file.write(json.dumps(record).encode() + b"\n")
            # What was handed to the system survives a kill of this process.
            self._file.flush()
        except OSError as error:
            self._failure = error

    def close(self) -> None:
        """Closes the file, which frees its lock."""
        with contextlib.suppress(OSError):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if self._failure is not None and exc is None:
            raise TraceError(
                f"the trace {self._path} is incomplete: {self._failure.strerror} "
                "(the run's result is in `result` of this error)",
                result=self._result,
            ) from self._failure


def _open_file(path: str, flags: int) -> int:
    """Opens a trace that only its owner may read: it contains what tools were asked and returned."""
    # Otherwise a user who may write in its folder could have another file overwritten.
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), mode=0o600)


def _written(trace: Trace) -> Counter[Hashable]:
    """Counts what a trace contains and a resumed run need not write again.

    If the planner planned a stage again later, what happened to the old prompts does not count, and
    nor does the end of that stage and of the stages after it.
    """
    written: Counter[Hashable] = Counter()
    prompts: dict[tuple[int, int], tuple[str, str]] = {}
    executions: dict[tuple[int, int], list[Hashable]] = {}
    ends: dict[int, Hashable] = {}

    def plan_again(stage: int) -> None:
        for number in [number for number in ends if number >= stage]:
            written[ends.pop(number)] -= 1

    for event in trace.events:
        key, execution = _key(event), _execution_of(event)
        match event:
            case PromptReady() if execution is not None:
                prompt = (event.text, event.executor)
                if prompts.setdefault(execution, prompt) != prompt:
                    prompts[execution] = prompt
                    written.subtract(executions.pop(execution))
                    plan_again(event.stage)
            case CallStarted(number=None):
                plan_again(event.stage)
            case StageEnded():
                ends[event.stage.number] = key
            case _:
                pass
        if execution is not None:
            executions.setdefault(execution, []).append(key)
        written[key] += 1
    return written


def _execution_of(event: Event) -> tuple[int, int] | None:
    """Returns the stage and number of the execution that an event is about, if it is about one."""
    match event:
        case NestedEvent():
            return event.path[0].stage, event.path[0].number
        case PromptReady() | ExecutionStarted() | ExecutionText():
            return event.stage, event.number
        case ExecutionEnded(execution=e):
            return e.stage, e.number
        case _:
            return None


def _key(event: Event) -> Hashable:
    """Returns what two reports of the same event have in common: everything but the time."""
    match event:
        case NestedEvent():
            path = tuple((p.stage, p.number, p.run) for p in event.path)
            inner = event.event
            # A nested run that ended is not run again, so its end is reported as it was.
            if isinstance(inner, RunEnded | RunFailed):
                return path, type(inner).__name__, inner.result.question
            return path, _key(inner)
        case CallStarted():
            return "CallStarted", event.call
        case ExecutionEnded(execution=e):
            return "ExecutionEnded", e.stage, e.number, e.executor, e.status, e.text
        case StageEnded(stage=s):
            executions = tuple((e.number, e.status, e.text) for e in s.executions)
            return "StageEnded", s.number, s.plan, executions, s.verdict
        case RunEnded() | RunFailed():
            # The end of the run itself is always written.
            return "RunEnded", id(event)
        case _:
            return replace(event, at=0.0)
