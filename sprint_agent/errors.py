"""The exception tree. It contains every error that this library raises on purpose.

    SprintError
    ├── QuestionError            the question is empty or unreadable
    ├── EngineError              a call to the engine failed
    │   ├── EngineUnavailable    the engine is unreachable or closed, or its model cannot be loaded
    │   │   └── EngineStalled    no token came for too long, even if the connection is alive
    │   ├── RequestRefused       a request was refused before it was queued: bad ids, bad sampling
    │   │   └── ContextTooLong   prompt and answer do not fit into the model's context
    │   └── TruncatedStream      a stream ended without a finish reason
    ├── TraceError               a trace cannot be read or written, or belongs to another run
    ├── PlanError                the planner's turn cannot be run, not even after its repair
    ├── ExecutorError            an executor of this library failed
    │   └── PromptError          an executor cannot read its prompt: the same prompt would fail again
    ├── LimitReached             a limit ended the run: contains the partial Result
    └── ExpressionError          (Countdown) a text is not an expression

An error that an executor raises, of this tree or not, never reaches the caller. It becomes a failed
Execution, which the planner reads. A cancellation is never turned into an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sprint_agent.limits import LimitName
    from sprint_agent.result import Result


class SprintError(Exception):
    """Base of all errors of this library. The message says what is wrong and what to do."""

    result: Result | None = None
    """What the run had finished when the error ended it, without an answer. None outside of a run."""


class QuestionError(SprintError):
    """The question is empty, or the task it belongs to cannot read it."""


class EngineError(SprintError):
    """A call to the engine failed.

    Args:
        message: What is wrong and what to do.
        transient: Whether the same call may succeed if it is sent again.
        retry_after: The seconds after which to send it again, if the server said so.
    """

    def __init__(
        self, message: str, *, transient: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.transient = transient
        self.retry_after = retry_after


class EngineUnavailable(EngineError):
    """The engine cannot be reached, or is closed, or its model cannot be loaded."""


class EngineStalled(EngineUnavailable):
    """No token came for too long. Heartbeats that keep the connection alive are no tokens."""


class RequestRefused(EngineError):
    """The engine refuses a request before queueing it, because of bad ids or bad sampling."""


class ContextTooLong(RequestRefused):
    """The prompt and the tokens reserved for the answer exceed the model's context length."""


class TruncatedStream(EngineError):
    """A stream ended without a finish reason: its text is not an answer."""


class TraceError(SprintError):
    """A file is not a trace, or is one of another version, or does not contain the call.

    If a run ended and only its trace could not be written completely, `result` is the run's result.
    """

    def __init__(self, message: str, *, result: Result | None = None) -> None:
        super().__init__(message)
        self.result = result


class PlanError(SprintError):
    """The planner's turn cannot be run, and its repair turn did not correct it.

    `text` is what the planner wrote.
    """

    def __init__(self, message: str, *, text: str = "") -> None:
        super().__init__(message)
        self.text = text


class ExecutorError(SprintError):
    """An executor of this library failed. The planner reads the message."""


class PromptError(ExecutorError):
    """An executor cannot read its prompt, and the same prompt would fail again.

    Your own executors may raise it. It is not retried and no fallback is used, because only the planner
    can correct the prompt. The message tells the planner how.
    """


class LimitReached(SprintError):
    """A limit ended the run."""

    def __init__(self, message: str, *, limit: str, result: Result) -> None:
        super().__init__(message)
        self.limit = limit
        """The name of the limit, for example `"deadline"` or `"tokens"`."""
        self.result = result
        """Everything that was finished before."""


class BudgetExhausted(Exception):
    """A limit of a run's budget is reached. Internal: it never reaches a caller.

    Not a SprintError: the runtime turns it into `Result.limit` or into a failed execution.
    """

    def __init__(self, limit: LimitName) -> None:
        super().__init__(f"the run's limit on {limit} is reached")
        self.limit: LimitName = limit
