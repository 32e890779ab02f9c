"""What a run reports, in the order in which it happens.

    RunStarted
      StageStarted
        PlanText …              the planner writes
        PromptReady             a prompt is complete
        CallStarted, CallEnded  a call of the engine, by the planner or by an execution
        CallRetried             a call failed and is sent again: what it wrote is discarded
        ExecutionStarted        an executor begins
        ExecutionText …         it writes (only executors that stream)
        ExecutionEnded          it is done, failed or stopped
      StageEnded
      …
      AnswerText …              the planner writes its last turn
    RunEnded                    or RunFailed

A resumed run first reports RunResumed. Then it reports again what its trace contains, and continues.

Events of different executions of a stage are interleaved. `at` is in seconds since the run began.
Generated text comes with the `ids` that the engine sampled (none if the engine has no ids), and with
the number of its `call`, counted from 1 in each run.

A run inside an execution has its own events, times and calls. They arrive as NestedEvent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from sprint_agent.engine import Finish, Sampling
from sprint_agent.result import Execution, Result, Stage


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run begins."""

    at: float
    question: str


@dataclass(frozen=True, slots=True)
class RunResumed:
    """The run continues after its process ended, or after a limit ended it. See `Sprint.resume`."""

    at: float


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A turn of the planner begins. It becomes a stage, or it is the answer."""

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
    """A prompt is complete."""

    at: float
    stage: int
    number: int
    text: str
    executor: str
    """The name of the executor that takes the prompt."""


@dataclass(frozen=True, slots=True)
class PromptRenumbered:
    """The planner gave a prompt the wrong numbers. It runs as `stage`.`number`."""

    at: float
    stage: int
    number: int
    written: tuple[int, ...]
    """The numbers that the planner wrote."""


@dataclass(frozen=True, slots=True)
class PlanRepaired:
    """The planner's turn is malformed from some point on. The planner writes it again from there."""

    at: float
    stage: int
    reason: str


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A request is sent to the engine."""

    at: float
    call: int
    stage: int
    number: int | None
    """The number of the execution that calls, None for the planner."""
    prompt: str
    """The digest of the text that the call continues (`runtime.recorded.digest`)."""
    sampling: Sampling
    stop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call ended with the engine's finish, with an error, or early because its reader left it."""

    at: float
    call: int
    finish: Finish | None
    error: str | None


@dataclass(frozen=True, slots=True)
class CallRetried:
    """A call failed and is sent again after `pause` seconds.

    What it wrote is discarded, except for prompts of the planner that were complete.
    """

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
    """An executor wrote `text` through a call of the engine."""

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
    """A stage ended, and its executions are part of the context."""

    at: float
    stage: Stage


@dataclass(frozen=True, slots=True)
class AnswerText:
    """The planner wrote `text` in its last turn, which has the number `stage`."""

    at: float
    stage: int
    text: str
    ids: tuple[int, ...]
    call: int


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run ended with an answer or at a limit."""

    at: float
    result: Result


@dataclass(frozen=True, slots=True)
class RunFailed:
    """The run failed. The call that began it raises the error."""

    at: float
    error: str
    """The error, with the name of its class."""
    result: Result
    """What was finished before. It has no answer."""


OwnEvent = (
    RunStarted
    | RunResumed
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
    | RunFailed
)
"""What a run reports about itself."""


@dataclass(frozen=True, slots=True)
class ParentExecution:
    """The execution that a nested run is inside of: execution `stage`.`number` of the outer run."""

    at: float
    """The time in the outer run."""
    stage: int
    number: int
    run: int
    """Which of the execution's nested runs it is, from 1."""


@dataclass(frozen=True, slots=True)
class NestedEvent:
    """What a nested run reports."""

    path: tuple[ParentExecution, ...]
    """The executions around the nested run, from the outermost run inwards."""
    event: OwnEvent

    @classmethod
    def of(cls, parent: ParentExecution, event: Event) -> Self:
        """Returns the event of a run inside `parent`, as the outer run reports it."""
        if isinstance(event, NestedEvent):
            return cls((parent, *event.path), event.event)
        return cls((parent,), event)

    @property
    def at(self) -> float:
        """When it happened, in seconds since the outermost run began."""
        return self.path[0].at

    @property
    def inner(self) -> Event:
        """The event as the run inside reports it."""
        return NestedEvent(self.path[1:], self.event) if self.path[1:] else self.event


Event = OwnEvent | NestedEvent
