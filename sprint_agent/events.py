"""What a run reports while it goes, in the order in which it happens.

    RunStarted
      StageStarted
        PlanText …              the planner writes
        PromptReady             a prompt is complete
        CallStarted, CallEnded  a call of the engine, by the planner or an execution
        CallRetried             it failed and is sent again: what it wrote counts for nothing
        ExecutionStarted        its executor begins
        ExecutionText …         it writes (executors that stream)
        ExecutionEnded          done, failed or stopped
      StageEnded
      …
      AnswerText …              the planner writes its last turn
    RunEnded

Events of different executions of a stage come interleaved. `at` is in seconds since the run began.
What a call generated has the `ids` that the engine sampled (none from an engine without ids), and the
number of its `call`, which counts from 1 over the run.

A run inside an execution has events, times and calls of its own: all of them come as NestedEvent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from sprint_agent.engine import Finish, Sampling
from sprint_agent.result import Execution, Result, Stage


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The question was taken."""

    at: float
    question: str


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A new turn of the planner begins; it may turn out to be the answer."""

    at: float
    stage: int


@dataclass(frozen=True, slots=True)
class PlanText:
    """The planner wrote `text`, tags included."""

    at: float
    stage: int
    text: str
    ids: tuple[int, ...]
    call: int


@dataclass(frozen=True, slots=True)
class PromptReady:
    """A prompt is complete. `executor` is the name that will take it."""

    at: float
    stage: int
    number: int
    text: str
    executor: str


@dataclass(frozen=True, slots=True)
class PromptRenumbered:
    """The planner gave a prompt numbers that are not its place; it runs as `stage`.`number`."""

    at: float
    stage: int
    number: int
    written: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PlanRepaired:
    """The planner's turn could not be read from some point on, and is written anew from there."""

    at: float
    stage: int
    reason: str


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A request goes to the engine, for the planner (`number` is None) or for an execution.

    `prompt` is the digest of the text that it goes on from (`calls.digest`).
    """

    at: float
    call: int
    stage: int
    number: int | None
    prompt: str
    sampling: Sampling
    stop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call is over: with the engine's finish, with an error, or left early (neither)."""

    at: float
    call: int
    finish: Finish | None
    error: str | None


@dataclass(frozen=True, slots=True)
class CallRetried:
    """A call failed and is sent again in `pause` seconds. What it wrote is discarded, but for the
    planner's prompts that were complete."""

    at: float
    call: int
    reason: str
    pause: float


@dataclass(frozen=True, slots=True)
class ExecutionStarted:
    """An executor begins."""

    at: float
    stage: int
    number: int


@dataclass(frozen=True, slots=True)
class ExecutionText:
    """An executor wrote `text` by a call of the engine."""

    at: float
    stage: int
    number: int
    text: str
    ids: tuple[int, ...]
    call: int


@dataclass(frozen=True, slots=True)
class ExecutionEnded:
    """An execution is done, failed or stopped."""

    at: float
    execution: Execution


@dataclass(frozen=True, slots=True)
class StageEnded:
    """A stage is over: its executions stand in the context."""

    at: float
    stage: Stage


@dataclass(frozen=True, slots=True)
class AnswerText:
    """The planner wrote `text` in its last turn, which is `stage`."""

    at: float
    stage: int
    text: str
    ids: tuple[int, ...]
    call: int


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run is over, with an answer or by a limit."""

    at: float
    result: Result


OwnEvent = (
    RunStarted
    | StageStarted
    | PlanText
    | PromptReady
    | PromptRenumbered
    | PlanRepaired
    | CallStarted
    | CallEnded
    | CallRetried
    | ExecutionStarted
    | ExecutionText
    | ExecutionEnded
    | StageEnded
    | AnswerText
    | RunEnded
)
"""What a run reports of itself."""


@dataclass(frozen=True, slots=True)
class ParentExecution:
    """Where a nested run goes on: inside execution `stage`.`number` of the run around it.

    It is the `run`-th that the execution began, from 1; `at` is the time in the run around.
    """

    at: float
    stage: int
    number: int
    run: int


@dataclass(frozen=True, slots=True)
class NestedEvent:
    """What a nested run reports. `within` says where it goes on, from the outermost run inwards."""

    path: tuple[ParentExecution, ...]
    event: OwnEvent

    @classmethod
    def of(cls, where: ParentExecution, event: Event) -> Self:
        """The event that a run inside this one reports, as this one reports it."""
        if isinstance(event, NestedEvent):
            return cls((where, *event.path), event.event)
        return cls((where,), event)

    @property
    def at(self) -> float:
        """When it happened, in seconds since the outermost run began."""
        return self.path[0].at

    @property
    def inner(self) -> Event:
        """The event as the run inside reports it."""
        return NestedEvent(self.path[1:], self.event) if self.path[1:] else self.event


Event = OwnEvent | NestedEvent
