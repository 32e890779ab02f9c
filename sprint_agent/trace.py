"""A run as versioned JSONL: one line for each event, written as it happens.

    {"trace": 1}
    {"event": "RunStarted", "at": 0.0, "question": "…"}
    {"event": "CallStarted", "at": 0.001, "call": 1, …}
    …
    {"event": "RunEnded", …}

A line is whole or it does not count: a run that was killed leaves a torn one at most, which is passed
over. From a trace a run can be shown again (`events`), answered again without a model (`TraceEngine`)
or gone on with (`Sprint.resume`).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

import msgspec

from sprint_agent.calls import RecordedCall
from sprint_agent.engines.base import Delta
from sprint_agent.errors import TraceError
from sprint_agent.events import (
    AnswerText,
    CallEnded,
    CallRetried,
    CallStarted,
    Event,
    ExecutionEnded,
    ExecutionText,
    PlanText,
    RunEnded,
    RunStarted,
    StageEnded,
)
from sprint_agent.result import Execution, Prompt, Result

VERSION = 1
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Event)}


class Recorder:
    """Writes a run's events to a file, each before the next one happens.

    `path` is overwritten. A trace that is gone on with is `replaces`: it stays as it was until all
    that it holds stands in the new one. Raises TraceError for a file that cannot be written; where
    that shows only later, the run goes on, and the error is raised when the recorder is left.
    """

    def __init__(self, path: str | os.PathLike[str], replaces: Resumed | None = None) -> None:
        self._path = Path(path)
        self._replaces = replaces
        beside = self._path.with_name(self._path.name + ".resumed")
        self._written = beside if replaces else self._path
        self._failure: OSError | None = None
        try:
            self._file = self._written.open("w", encoding="utf-8")
        except OSError as error:
            raise TraceError(f"cannot write the trace {self._path}: {error.strerror}") from error
        self._write({"trace": VERSION})

    def __call__(self, event: Event) -> None:
        """Writes one event."""
        self._write({"event": type(event).__name__, **msgspec.to_builtins(event)})
        if self._replaces is not None and self._replaces.used_up:
            self._take_over()

    def _write(self, record: dict[str, Any]) -> None:
        if self._failure is not None:
            return
        try:
            self._file.write(json.dumps(record) + "\n")
            # A kill of this process loses nothing that was handed to the system.
            self._file.flush()
        except OSError as error:
            self._failure = error

    def _take_over(self) -> None:
        self._replaces = None
        os.replace(self._written, self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._replaces is not None:
            self._take_over()
        with contextlib.suppress(OSError):
            self._file.close()
        if self._failure is not None and exc is None:
            reason = self._failure.strerror
            raise TraceError(f"the trace {self._path} is not whole: {reason}") from self._failure


@dataclass(frozen=True, slots=True)
class Trace:
    """What a trace holds: the events of a run, from its start to its end or to where it was cut."""

    events: tuple[Event, ...]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Trace:
        """Reads a trace. Raises TraceError where the file is none, or of another version."""
        try:
            # A line break in the middle of a multi-byte character cannot be: "\n" is one byte.
            lines = Path(path).read_bytes().split(b"\n")
        except OSError as error:
            raise TraceError(f"cannot read the trace {path}: {error.strerror}") from error
        # What follows the last line break is empty, or torn.
        records = [_record(path, k, line) for k, line in enumerate(lines[:-1], 1)]
        if not records or records[0].get("trace") != VERSION:
            raise TraceError(f"{path} is no trace of version {VERSION}: record the run again")
        return cls(tuple(_event(path, k, r) for k, r in enumerate(records[1:], 2)))

    @property
    def question(self) -> str:
        """The question that was asked. Raises TraceError where the run had not begun."""
        if not self.events or not isinstance(self.events[0], RunStarted):
            raise TraceError("the trace ends before its run began: start the run anew")
        return self.events[0].question

    @property
    def result(self) -> Result | None:
        """What the run came to; None where it was cut off."""
        last = self.events[-1] if self.events else None
        return last.result if isinstance(last, RunEnded) else None

    @property
    def seconds(self) -> float:
        """How long the run had gone on by its last event."""
        return max((event.at for event in self.events), default=0.0)

    def calls(self) -> Iterator[tuple[CallStarted, RecordedCall]]:
        """The calls of the engine, in the order in which they were sent."""
        made: dict[int, tuple[CallStarted, RecordedCall]] = {}
        for event in self.events:
            match event:
                case CallStarted():
                    made[event.call] = (event, RecordedCall(event.prompt, []))
                case PlanText() | ExecutionText() | AnswerText():
                    made[event.call][1].deltas.append(Delta(event.text, event.ids))
                case CallEnded():
                    made[event.call][1].finish = event.finish
                case CallRetried():
                    made[event.call][1].error = event.reason
                case _:
                    pass
        yield from made.values()


def _record(path: object, number: int, line: bytes) -> dict[str, Any]:
    try:
        value: object = json.loads(line)
    except ValueError as error:
        raise TraceError(f"{path}, line {number}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise TraceError(f"{path}, line {number}: not a JSON object")
    return msgspec.convert(value, dict[str, Any])


def _event(path: object, number: int, record: dict[str, Any]) -> Event:
    kind = _KINDS.get(str(record.pop("event", None)))
    if kind is None:
        raise TraceError(f"{path}, line {number}: no event of this version")
    try:
        event: Event = msgspec.convert(record, kind)
    except msgspec.ValidationError as error:
        raise TraceError(f"{path}, line {number}: {error}") from error
    return event


class Resumed:
    """What a run that is gone on with takes from its trace in place of doing it again."""

    def __init__(self, trace: Trace) -> None:
        self.seconds = trace.seconds
        self._calls: dict[tuple[int, int | None], list[RecordedCall]] = {}
        for started, call in trace.calls():
            self._calls.setdefault((started.stage, started.number), []).append(call)
        closed = {e.stage.number for e in trace.events if isinstance(e, StageEnded)}
        ended = (e.execution for e in trace.events if isinstance(e, ExecutionEnded))
        # What was stopped in a stage that is still open must run: it may not be stopped this time.
        self._executions = {
            (execution.stage, execution.number): execution
            for execution in ended
            if execution.status != "stopped" or execution.stage in closed
        }

    @property
    def used_up(self) -> bool:
        """Whether the run has come to the end of the trace."""
        return not self._calls and not self._executions

    def execution(self, stage: int, prompt: Prompt) -> Execution | None:
        """The recorded execution of a prompt, if it had ended."""
        found = self._executions.pop((stage, prompt.number), None)
        if found is not None:
            self._calls.pop((stage, prompt.number), None)
        return found

    def call(self, stage: int, number: int | None, prompt: str) -> RecordedCall | None:
        """The next recorded call of that planner or execution, if it went on from `prompt`."""
        waiting = self._calls.get((stage, number))
        if not waiting:
            return None
        found = waiting.pop(0)
        if found.prompt != prompt:
            # The run takes another way than its trace, and what follows there means nothing here.
            waiting.clear()
        if not waiting:
            del self._calls[stage, number]
        return found if found.prompt == prompt else None
