"""sprint-agent: a reasoning model plans, executors run side by side, the answer comes sooner."""

from sprint_agent.agent import Run, Sprint
from sprint_agent.countdown.solver import solve
from sprint_agent.engines.base import Sampling
from sprint_agent.errors import (
    ContextTooLong,
    EngineError,
    EngineUnavailable,
    LimitReached,
    PlanError,
    QuestionError,
    RequestRefused,
    SprintError,
    TraceError,
    TruncatedStream,
)
from sprint_agent.events import (
    AnswerText,
    CallEnded,
    CallRetried,
    CallStarted,
    Event,
    ExecutionEnded,
    ExecutionStarted,
    ExecutionText,
    PlanRepaired,
    PlanText,
    PromptReady,
    PromptRenumbered,
    RunEnded,
    RunStarted,
    StageEnded,
    StageStarted,
)
from sprint_agent.executors import Executor, Task, executor
from sprint_agent.join import first_success
from sprint_agent.limits import Limits
from sprint_agent.result import Execution, Prompt, Result, Stage, Usage
from sprint_agent.trace import Trace

__all__ = [
    "AnswerText",
    "CallEnded",
    "CallRetried",
    "CallStarted",
    "ContextTooLong",
    "EngineError",
    "EngineUnavailable",
    "Event",
    "Execution",
    "ExecutionEnded",
    "ExecutionStarted",
    "ExecutionText",
    "Executor",
    "LimitReached",
    "Limits",
    "PlanError",
    "PlanRepaired",
    "PlanText",
    "Prompt",
    "PromptReady",
    "PromptRenumbered",
    "QuestionError",
    "RequestRefused",
    "Result",
    "Run",
    "RunEnded",
    "RunStarted",
    "Sampling",
    "Sprint",
    "SprintError",
    "Stage",
    "StageEnded",
    "StageStarted",
    "Task",
    "Trace",
    "TraceError",
    "TruncatedStream",
    "Usage",
    "executor",
    "first_success",
    "solve",
]
