"""The exception tree. Everything that this library raises on purpose is in it.

    SprintError
    ├── QuestionError            the question cannot be asked (empty, unreadable)
    ├── EngineError              the engine could not do its part
    │   ├── EngineUnavailable    unreachable, not loadable, or closed
    │   ├── RequestRefused       refused before it was queued: bad ids, bad sampling
    │   │   └── ContextTooLong   prompt and answer do not fit into the model's context
    │   └── TruncatedStream      a stream ended without a finish reason
    ├── TraceError               a trace cannot be read or written, or is not of this run
    ├── PlanError                the planner wrote what cannot be run, also after its repair turn
    ├── ExecutorError            an executor of this library could not do its part
    │   └── PromptError          an executor cannot take its prompt; the same again would fail again
    ├── LimitReached             a limit ended the run; carries the partial Result
    └── ExpressionError          (Countdown) a text is no expression

What an executor raises, of this tree or not, never reaches the caller: it becomes a failed
Execution, which the planner reads. Cancellation is never turned into an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sprint_agent.limits import LimitName
    from sprint_agent.result import Result


class SprintError(Exception):
    """Base of all errors of this library. The message says what is wrong and what to do."""


class QuestionError(SprintError):
    """The question cannot be asked: it is empty, or a task cannot read it."""


class EngineError(SprintError):
    """The engine could not do its part.

    `transient` says that the same call may well succeed if it is sent again, `retry_after` after how
    many seconds, where the server said so.
    """

    def __init__(
        self, message: str, *, transient: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.transient = transient
        self.retry_after = retry_after


class EngineUnavailable(EngineError):
    """The engine cannot be reached, its model cannot be loaded, or it is closed."""


class RequestRefused(EngineError):
    """The engine refuses a request before it is queued: bad ids or bad sampling."""


class ContextTooLong(RequestRefused):
    """The prompt, with the room that an answer needs, exceeds the model's context length."""


class TruncatedStream(EngineError):
    """A stream ended without a finish reason: what it said is not an answer."""


class TraceError(SprintError):
    """A file is no trace, or a trace of another version, or it holds no such call.

    Where a run came to its end and only its trace could not be written whole, `result` is the run's.
    """

    def __init__(self, message: str, *, result: Result | None = None) -> None:
        super().__init__(message)
        self.result = result


class PlanError(SprintError):
    """The planner wrote what cannot be run, and its repair turn did not mend it."""


class ExecutorError(SprintError):
    """An executor of this library could not do its part. The planner reads the message."""


class PromptError(ExecutorError):
    """An executor cannot take its prompt, and the same prompt would fail again.

    An executor of your own may raise it: it is not retried and goes to no fallback, since it is
    the planner that can mend the prompt. The message tells it how.
    """


class LimitReached(SprintError):
    """A limit ended the run.

    `limit` names it (`"deadline"`, `"tokens"`); `result` holds all that was finished.
    """

    def __init__(self, message: str, *, limit: str, result: Result) -> None:
        super().__init__(message)
        self.limit = limit
        self.result = result


class BudgetExhausted(Exception):
    """A limit of a run's budget is reached. Internal: it never reaches a caller.

    Not a SprintError: the runtime turns it into `Result.limit` or into a failed execution.
    """

    def __init__(self, limit: LimitName) -> None:
        super().__init__(f"the run's limit on {limit} is reached")
        self.limit: LimitName = limit
