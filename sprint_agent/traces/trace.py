"""A run as versioned JSONL: one line for each event, written as it happens.

    {"trace": 2}
    {"event": "RunStarted", "at": 0.0, "question": "…"}
    {"event": "CallStarted", "at": 0.001, "call": 1, …}
    …
    {"event": "RunEnded", …}

What a nested run reports also says where that run goes on, from the outermost run inwards
(`events.Within`): `"within": [{"at": 0.1, "stage": 1, "number": 2, "run": 1}]`.

A line is whole or it does not count: a run that was killed leaves a torn one at most, which is passed
over. From a trace a run can be shown again (`events`), answered again without a model (`TraceEngine`)
or gone on with (`Sprint.resume`).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

import msgspec

from sprint_agent.engine import Delta
from sprint_agent.errors import TraceError
from sprint_agent.events import (
    AnswerText,
    CallEnded,
    CallRetried,
    CallStarted,
    Event,
    ExecutionEnded,
    ExecutionStarted,
    ExecutionText,
    NestedEvent,
    OwnEvent,
    ParentExecution,
    PlanText,
    PromptReady,
    RunEnded,
    RunStarted,
    StageEnded,
)
from sprint_agent.result import Execution, Prompt, Result, Stage
from sprint_agent.runtime.calls import RecordedCall, RecordedExecution
from sprint_agent.runtime.router import MODEL

VERSION = 2
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(OwnEvent)}


class Recorder:
    """Writes a run's events to a file, each before the next one happens.

    `path` is overwritten. A trace that is gone on with is `replaces`: it stays as it was until all
    that it holds stands in the new one, or the run's answer; the new one is gone where the recorder is
    left before. Raises TraceError for a file that cannot be written; where that shows only later, the
    run goes on, and the error is raised when the recorder is left, with the run's result.
    """

    def __init__(self, path: str | os.PathLike[str], replaces: Resumed | None = None) -> None:
        self._path = Path(path)
        self._replaces = replaces
        beside = self._path.with_name(self._path.name + ".resumed")
        self._written = beside if replaces else self._path
        self._failure: OSError | None = None
        self._result: Result | None = None
        try:
            self._file = self._written.open("w", encoding="utf-8")
        except OSError as error:
            raise TraceError(f"cannot write the trace {self._path}: {error.strerror}") from error
        self._write({"trace": VERSION})

    def __call__(self, event: Event) -> None:
        """Writes one event."""
        self._write(_told(event))
        if isinstance(event, RunEnded):
            self._result = event.result
        answered = self._result is not None and self._result.limit is None
        if self._replaces is not None and (answered or self._replaces.used_up):
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
        if self._failure is not None:
            return
        try:
            os.replace(self._written, self._path)
            self._replaces = None
        except OSError as error:
            self._failure = error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        if self._replaces is not None:
            with contextlib.suppress(OSError):
                self._written.unlink()
        if self._failure is not None and exc is None:
            reason = f"{self._failure.strerror} (`result` of this error is what the run came to)"
            message = f"the trace {self._path} is not whole: {reason}"
            raise TraceError(message, result=self._result) from self._failure


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

    def calls(self) -> Iterator[RecordedCall]:
        """The calls of the engine, in the order in which they were sent, nested runs' included."""
        made: dict[tuple[object, int], RecordedCall] = {}
        for reported in self.events:
            run, event = _split(reported)
            match event:
                case CallStarted():
                    made[run, event.call] = RecordedCall(event.prompt, [])
                case PlanText() | ExecutionText() | AnswerText():
                    made[run, event.call].deltas.append(Delta(event.text, event.ids))
                case CallEnded():
                    made[run, event.call].finish = event.finish
                    made[run, event.call].left = event.finish is None and event.error is None
                case CallRetried():
                    made[run, event.call].error = event.reason
                case _:
                    pass
        yield from made.values()


def _split(event: Event) -> tuple[tuple[tuple[int, int, int], ...], OwnEvent]:
    """The run that an event is from, by the executions that it is inside of; and the event."""
    if not isinstance(event, NestedEvent):
        return (), event
    return tuple((w.stage, w.number, w.run) for w in event.path), event.event


def _told(event: Event) -> dict[str, Any]:
    """The record of an event."""
    if isinstance(event, NestedEvent):
        return {**_told(event.event), "within": msgspec.to_builtins(event.path)}
    return {"event": type(event).__name__, **msgspec.to_builtins(event)}


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
        within = msgspec.convert(record.pop("within", ()), tuple[ParentExecution, ...])
        event: OwnEvent = msgspec.convert(record, kind)
    except msgspec.ValidationError as error:
        raise TraceError(f"{path}, line {number}: {error}") from error
    return NestedEvent(within, event) if within else event


@dataclass(slots=True)
class _Worker:
    """What is left of what a planner in a stage, or an execution, had done."""

    events: tuple[Event, ...]
    calls: list[RecordedCall]
    runs: list[Resumed]
    execution: Execution | None = None
    begun: list[Resumed] = field(default_factory=list["Resumed"])

    @classmethod
    def read(cls, events: Sequence[Event]) -> _Worker:
        own: list[Event] = []
        runs: dict[int, list[Event]] = {}
        for event in events:
            if isinstance(event, NestedEvent):
                runs.setdefault(event.path[0].run, []).append(event.inner)
            else:
                own.append(event)
        nested = [Resumed(Trace(tuple(run))) for run in runs.values()]
        return cls(tuple(events), list(Trace(tuple(own)).calls()), nested)

    @property
    def used_up(self) -> bool:
        if self.calls or self.runs or self.execution is not None:
            return False
        return all(run.used_up for run in self.begun)


class Resumed:
    """What a run that is gone on with takes from its trace in place of doing it again."""

    def __init__(self, trace: Trace) -> None:
        """Raises TraceError where the run had not begun, or where one inside it had not."""
        self.question = trace.question
        self.seconds = trace.seconds
        self.result = trace.result
        self.events = trace.events
        self._taking = 0
        self._workers = {who: _Worker.read(did) for who, did in _by_worker(trace.events).items()}
        self._stages = {e.stage.number: e.stage for e in trace.events if isinstance(e, StageEnded)}
        ready = [event for event in trace.events if isinstance(event, PromptReady)]
        self._prompts = {(p.stage, p.number): (p.text, p.executor) for p in ready}
        for event in trace.events:
            # What was stopped in a stage that is still open must run: it may not be stopped this time.
            if isinstance(event, ExecutionEnded) and (
                event.execution.status != "stopped" or event.execution.stage in self._stages
            ):
                who = (event.execution.stage, event.execution.number)
                self._workers.setdefault(who, _Worker((), [], [])).execution = event.execution

    @contextlib.contextmanager
    def taking(self) -> Generator[None]:
        """Around taking something and reporting it anew: until then, it is not used up."""
        self._taking += 1
        try:
            yield
        finally:
            self._taking -= 1

    @property
    def used_up(self) -> bool:
        """Whether the run has come to the end of the trace, and all of that is reported anew."""
        return not self._taking and all(worker.used_up for worker in self._workers.values())

    def execution(self, stage: int, prompt: Prompt) -> RecordedExecution | None:
        """The recorded execution of a prompt, if it had ended."""
        who = (stage, prompt.number)
        worker = self._workers.get(who)
        if worker is None:
            return None
        if self._prompts.get(who) != (prompt.text, prompt.executor or MODEL):
            # The run takes another way than its trace, and what another prompt came to means nothing.
            del self._workers[who]
            return None
        if worker.execution is None:
            return None
        del self._workers[who]
        return RecordedExecution(worker.execution, worker.events)

    def stage(self, number: int) -> Stage | None:
        """The recorded stage, if it had ended, unless this run plans it anew."""
        return self._stages.get(number)

    def nested(self, stage: int, number: int, question: str) -> Resumed | None:
        """The next recorded run of that question inside the execution, which had not ended."""
        worker = self._workers.get((stage, number))
        if worker is None:
            return None
        # By its question: an execution may begin several side by side, in any order.
        found = next((run for run in worker.runs if run.question == question), None)
        if found is not None:
            worker.runs.remove(found)
            if found.result is None:
                worker.begun.append(found)
        return found

    def call(self, stage: int, number: int | None, prompt: str) -> RecordedCall | None:
        """The next recorded call of that planner or execution, if it went on from `prompt`."""
        worker = self._workers.get((stage, number))
        if worker is None or not worker.calls:
            return None
        found = worker.calls.pop(0)
        if found.prompt != prompt:
            # The run takes another way than its trace, and what follows there means nothing here.
            worker.calls.clear()
            if number is None:
                self._stages.pop(stage, None)
            return None
        return found


def _by_worker(events: Sequence[Event]) -> dict[tuple[int, int | None], list[Event]]:
    """A run's events by the stage and, where it is not the planner, the execution that did it."""
    callers: dict[int, tuple[int, int | None]] = {}
    did: dict[tuple[int, int | None], list[Event]] = {}
    for event in events:
        match event:
            case CallStarted():
                who = callers[event.call] = (event.stage, event.number)
            case CallEnded() | CallRetried() | PlanText() | AnswerText():
                who = callers[event.call]
            case ExecutionStarted() | ExecutionText():
                who = (event.stage, event.number)
            case NestedEvent():
                who = (event.path[0].stage, event.path[0].number)
            case _:
                continue
        did.setdefault(who, []).append(event)
    return did
