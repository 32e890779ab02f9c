"""What a run reports while it goes, in the order in which it happens.

    RunStarted
      StageStarted
        PlanText …              the planner writes
        PromptReady             a prompt is complete
        ExecutionStarted        its executor begins
        ExecutionText …         it writes (executors that stream)
        ExecutionEnded          done, failed or stopped
      StageEnded
      …
      AnswerText …              the planner writes its last turn
    RunEnded

Events of different executions of a stage come interleaved. `at` is in seconds since the run began.
"""

from __future__ import annotations

from dataclasses import dataclass

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
class ExecutionStarted:
    """An executor begins."""

    at: float
    stage: int
    number: int


@dataclass(frozen=True, slots=True)
class ExecutionText:
    """An executor wrote `text`."""

    at: float
    stage: int
    number: int
    text: str


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
    """The planner wrote `text` in its last turn."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run is over, with an answer or by a limit."""

    at: float
    result: Result


Event = (
    RunStarted
    | StageStarted
    | PlanText
    | PromptReady
    | PromptRenumbered
    | PlanRepaired
    | ExecutionStarted
    | ExecutionText
    | ExecutionEnded
    | StageEnded
    | AnswerText
    | RunEnded
)
