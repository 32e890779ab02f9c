"""A run as JSON lines: one line for each event, written when it happens.

    {"trace": 3}
    {"event": "RunStarted", "at": 0.0, "question": "…"}
    {"event": "CallStarted", "at": 0.001, "call": 1, …}
    …
    {"event": "RunEnded", …}        or RunFailed

An event of a nested run also names the executions around it, from the outermost run inwards
(`events.ParentExecution`): `"path": [{"at": 0.1, "stage": 1, "number": 2, "run": 1}]`.

A run that is resumed is appended to the same file. Its part begins with `{"trace": 3}` and RunResumed,
and contains only what the file does not contain yet.

A line counts if it is complete. A process that is killed leaves one torn line at most, and readers
skip it. From a trace a run can be shown again (`Trace.events`), answered again without a model
(`TraceEngine`), or resumed (`Sprint.resume`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import msgspec

from sprint_agent.engine import Delta
from sprint_agent.errors import TraceError
from sprint_agent.events import (
    AnswerText,
    CallEnded,
    CallRetried,
    CallStarted,
    Event,
    ExecutionText,
    NestedEvent,
    OwnEvent,
    ParentExecution,
    PlanText,
    RunEnded,
    RunFailed,
    RunStarted,
    StageEnded,
)
from sprint_agent.result import Result, Stage
from sprint_agent.runtime.recorded import RecordedCall

VERSION = 3
_READABLE = (2, 3)
_KINDS: dict[str, type[OwnEvent]] = {kind.__name__: kind for kind in get_args(OwnEvent)}

Record = dict[str, object]


@dataclass(frozen=True, slots=True)
class Trace:
    """The events of a run, from its start to its end or to where it was cut off."""

    events: tuple[Event, ...]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Trace:
        """Reads a trace.

        Raises:
            TraceError: The file cannot be read, is not a trace, or is of a version that cannot be read.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise TraceError(f"cannot read the trace {path}: {error.strerror}") from error
        except ValueError as error:  # a path with a NUL
            raise TraceError(f"cannot read the trace {str(path)!r}: {error}") from error
        return cls.parse(content, path)

    @classmethod
    def parse(cls, content: bytes, path: str | os.PathLike[str]) -> Trace:
        """Reads the content of a trace. `path` is named in errors, which are those of `read`."""
        # A line break is one byte, so it cannot fall into a multi-byte character.
        # What follows the last line break is empty or torn.
        lines = content.split(b"\n")[:-1]
        version = None
        events: list[Event] = []
        begun: set[tuple[object, int]] = set()
        for number, line in enumerate(lines, 1):
            where = f"{path}, line {number}"
            record = _record(where, line)
            if "trace" in record:
                version = _readable(record["trace"], path)
            elif version is None:
                break
            else:
                event = _event(where, record if version == VERSION else upgraded(record))
                _check(where, event, begun)
                events.append(event)
        if version is None:
            raise TraceError(f"{path} is not a trace of version {VERSION}: record the run again")
        return cls(tuple(events))

    @property
    def question(self) -> str:
        """The question of the run.

        Raises:
            TraceError: The trace ends before the run began.
        """
        if not self.events or not isinstance(self.events[0], RunStarted):
            raise TraceError("the trace ends before its run began: start the run again")
        return self.events[0].question

    @property
    def result(self) -> Result | None:
        """The result of the run, None if the run was cut off or failed."""
        last = self.events[-1] if self.events else None
        return last.result if isinstance(last, RunEnded) else None

    @property
    def error(self) -> str | None:
        """The error that ended the run, None if none did. Such a run can be resumed."""
        last = self.events[-1] if self.events else None
        return last.error if isinstance(last, RunFailed) else None

    @property
    def seconds(self) -> float:
        """The time of the last event, in seconds since the run began."""
        return max((event.at for event in self.events), default=0.0)

    def calls(self) -> Iterator[RecordedCall]:
        """Yields the calls of the engine in the order in which they were sent, with nested runs'."""
        made: dict[tuple[object, int], RecordedCall] = {}
        for reported in self.events:
            run, event = _split(reported)
            match event:
                case CallStarted():
                    made.setdefault((run, event.call), RecordedCall(event.call, event.prompt, []))
                case PlanText() | ExecutionText() | AnswerText():
                    made[run, event.call].deltas.append(Delta(event.text, event.ids))
                case CallEnded():
                    call = made[run, event.call]
                    # A resumed run may leave a call early that had a finish before.
                    call.finish = event.finish or call.finish
                    call.left = call.finish is None and event.error is None
                case CallRetried():
                    made[run, event.call].error = event.reason
                case _:
                    pass
        yield from made.values()


def record_of(event: Event) -> Record:
    """Returns an event as a JSON object."""
    if isinstance(event, NestedEvent):
        return {**record_of(event.event), "path": msgspec.to_builtins(event.path)}
    return {"event": type(event).__name__, **msgspec.to_builtins(event)}


def upgraded(record: Record) -> Record:
    """Returns a record of version 2 as one of version 3, where several names changed."""
    return cast("Record", _upgraded(record))


_RENAMED = {
    "within": "path",
    "place_since": "slot_free_at",
    "waited": "seconds_after_plan",
    "final": "answer_usage",
}


def _upgraded(value: object) -> object:
    if isinstance(value, list):
        return [_upgraded(item) for item in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    old = cast("dict[str, object]", value)
    new = {_RENAMED.get(key, key): _upgraded(item) for key, item in old.items()}
    if new.pop("checked", False) and new["executions"]:
        new["verdict"] = {"accepted": new.get("ended_by"), "remark": new.get("remark", "")}
    return new


def _split(event: Event) -> tuple[tuple[tuple[int, int, int], ...], OwnEvent]:
    """Returns the run that an event is from, by the executions around it, and the run's own event."""
    if not isinstance(event, NestedEvent):
        return (), event
    return tuple((p.stage, p.number, p.run) for p in event.path), event.event


def _check(where: str, event: Event, begun: set[tuple[object, int]]) -> None:
    """Raises TraceError if an event does not fit those before it. `begun` are the calls that began."""
    run, own = _split(event)
    match own:
        case CallStarted():
            begun.add((run, own.call))
        case PlanText() | ExecutionText() | AnswerText() | CallEnded() | CallRetried():
            if (run, own.call) not in begun:
                raise TraceError(
                    f"{where}: an event of call {own.call}, which never began: the file was edited or "
                    "damaged, so start the run again"
                )
        case StageEnded():
            _check_stages(where, (own.stage,))
        case RunEnded() | RunFailed():
            _check_stages(where, own.result.stages)
        case _:
            pass


def _check_stages(where: str, stages: tuple[Stage, ...]) -> None:
    for stage in stages:
        numbers = range(1, len(stage.prompts) + 1)
        accepted = stage.verdict.accepted if stage.verdict else None
        whole = [prompt.number for prompt in stage.prompts] == list(numbers)
        whole &= [execution.number for execution in stage.executions] == list(numbers)
        if not whole or (accepted is not None and accepted not in numbers):
            raise TraceError(
                f"{where}: the prompts and executions of stage {stage.number} do not match: the file "
                "was edited or damaged, so start the run again"
            )


def _readable(version: object, path: object) -> object:
    if version not in _READABLE:
        raise TraceError(
            f"{path} was written by version {version} of the trace format, and this library reads "
            f"versions {_READABLE[0]} to {VERSION}: record the run again"
        )
    return version


def _record(where: str, line: bytes) -> Record:
    try:
        value: object = json.loads(line)
        # Half of a character, written as an escape, is JSON and no text. NaN is neither.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{where}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise TraceError(f"{where}: not a JSON object")
    return msgspec.convert(value, Record)


def _event(where: str, record: Record) -> Event:
    kind = _KINDS.get(str(record.pop("event", None)))
    if kind is None:
        raise TraceError(f"{where}: not an event of version {VERSION}")
    try:
        path = msgspec.convert(record.pop("path", ()), tuple[ParentExecution, ...])
        event = msgspec.convert(record, kind)
    except msgspec.ValidationError as error:
        raise TraceError(f"{where}: {error}") from error
    return NestedEvent(path, event) if path else event
