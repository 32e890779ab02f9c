"""What a resumed run takes from its trace in place of doing it again.

The runtime runs a resumed question as any other. It asks here before each call, execution and nested
run. Several parts of a trace may tell about the same call or execution; the later one counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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
    PlanText,
    PromptReady,
    StageEnded,
)
from sprint_agent.result import Execution, Prompt, Result, Stage
from sprint_agent.runtime.recorded import RecordedCall, RecordedExecution
from sprint_agent.runtime.router import MODEL
from sprint_agent.traces.trace import Trace

_Author = tuple[int, int | None]
"""A stage, and the number of an execution in it. None is the planner."""


@dataclass(slots=True)
class _Work:
    """What the planner of a stage, or one of the executions, did."""

    events: list[Event] = field(default_factory=list[Event])
    nested: dict[int, list[Event]] = field(default_factory=dict[int, list[Event]])
    prompt: tuple[str, str] | None = None
    execution: Execution | None = None
    calls: list[RecordedCall] = field(default_factory=list[RecordedCall])
    runs: list[ResumedRun] = field(default_factory=list["ResumedRun"])

    def divide(self) -> None:
        """Finds the calls and the nested runs among the events."""
        own = tuple(event for event in self.events if not isinstance(event, NestedEvent))
        self.calls = list(Trace(own).calls())
        self.runs = [ResumedRun(Trace(tuple(e)), run) for run, e in self.nested.items()]


class ResumedRun:
    """A run that a trace tells about (see `runtime.recorded.Recorded`).

    Args:
        run: Which nested run of its execution it is, from 1. 0 for an outermost run.

    Raises:
        TraceError: The trace ends before the run, or one of its nested runs, began.
    """

    def __init__(self, trace: Trace, run: int = 0) -> None:
        self.question: str = trace.question
        self.seconds: float = trace.seconds
        self.result: Result | None = trace.result
        self.events: tuple[Event, ...] = trace.events
        self.run = run
        self.executions: int = _count_executions(trace.events)
        started = [event.call for event in trace.events if isinstance(event, CallStarted)]
        self.last_call: int = max(started, default=0)
        self._stages: dict[int, Stage] = {}
        self._work: dict[_Author, _Work] = {}
        self._read(trace.events)
        for work in self._work.values():
            work.divide()

    def call(self, stage: int, number: int | None, prompt: str) -> RecordedCall | None:
        """Returns the next call that the planner (None) or an execution made with this prompt."""
        work = self._work.get((stage, number))
        found = next((c for c in work.calls if c.prompt == prompt), None) if work else None
        if work is not None and found is not None:
            work.calls.remove(found)
        elif work is not None and number is None and work.calls:
            # The planner writes another plan than the trace tells, so the stage must be checked again.
            self._stages.pop(stage, None)
        return found

    def execution(self, stage: int, prompt: Prompt) -> RecordedExecution | None:
        """Returns the execution of this very prompt if it ended."""
        who = (stage, prompt.number)
        work = self._work.get(who)
        if work is None:
            return None
        if work.prompt != (prompt.text, prompt.executor or MODEL):
            # The planner wrote another prompt. What the old one became means nothing here.
            del self._work[who]
            return None
        execution = work.execution
        if execution is None:
            return None
        if execution.status == "stopped" and stage not in self._stages:
            # The stage is still open, and this time the execution may not be stopped.
            return None
        del self._work[who]
        events = tuple(work.events)
        return RecordedExecution(execution, events, _count_executions(events))

    def stage(self, number: int) -> Stage | None:
        """Returns the stage if it ended, unless the planner has planned it again since."""
        return self._stages.get(number)

    def nested(self, stage: int, number: int, question: str) -> ResumedRun | None:
        """Returns the next nested run in which this execution solved the question."""
        work = self._work.get((stage, number))
        # By its question: an execution may begin several side by side, in any order.
        found = next((r for r in work.runs if r.question == question), None) if work else None
        if work is not None and found is not None:
            work.runs.remove(found)
        return found

    def nested_runs(self, stage: int, number: int) -> int:
        """Returns how many nested runs the execution began."""
        work = self._work.get((stage, number))
        return max(work.nested, default=0) if work else 0

    def _read(self, events: tuple[Event, ...]) -> None:
        callers: dict[int, _Author] = {}
        for event in events:
            match event:
                case CallStarted():
                    who = callers[event.call] = (event.stage, event.number)
                    if event.number is None:
                        self._forget_from(event.stage)
                    self._of(who).events.append(event)
                case CallEnded() | CallRetried() | PlanText() | AnswerText():
                    self._of(callers[event.call]).events.append(event)
                case PromptReady():
                    self._begin((event.stage, event.number), (event.text, event.executor))
                case ExecutionStarted() | ExecutionText():
                    self._of((event.stage, event.number)).events.append(event)
                case ExecutionEnded():
                    e = event.execution
                    self._of((e.stage, e.number)).execution = e
                case StageEnded():
                    self._stages[event.stage.number] = event.stage
                case NestedEvent():
                    parent = event.path[0]
                    work = self._of((parent.stage, parent.number))
                    work.events.append(event)
                    work.nested.setdefault(parent.run, []).append(event.inner)
                case _:
                    pass

    def _of(self, who: _Author) -> _Work:
        return self._work.setdefault(who, _Work())

    def _begin(self, who: _Author, prompt: tuple[str, str]) -> None:
        """A prompt is ready. If it is another one than before, its old work means nothing."""
        work = self._of(who)
        if work.prompt not in (None, prompt):
            work = self._work[who] = _Work()
            self._forget_from(who[0])
        work.prompt = prompt

    def _forget_from(self, stage: int) -> None:
        """The planner plans a stage, perhaps again: what ended from there on does not count any more."""
        for number in [number for number in self._stages if number >= stage]:
            del self._stages[number]


def _count_executions(events: tuple[Event, ...]) -> int:
    """Returns how many executions began, in nested runs too."""
    own = (event.event if isinstance(event, NestedEvent) else event for event in events)
    return sum(isinstance(event, PromptReady) for event in own)
