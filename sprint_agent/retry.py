"""Which failed calls are sent again, and when. `pause` has the rules, `retrying` hands them to tenacity.

Only a failure that the engine marks as transient is retried: a refused connection, a 5xx, a full
server, a connection that was reset. Each try is a call with its own request id.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import anyio
from tenacity import AsyncRetrying, RetryCallState

from sprint_agent.errors import EngineError

TRIES = 3
"""Calls in all, including the first one."""
LONGEST_WAIT = 60.0
"""Seconds: the longest wait that a run accepts when a server asks for one."""
_FIRST_WAIT = 0.25


def pause(
    error: EngineError,
    tries: int,
    left: float,
    spread: float,
    most: int = TRIES,
    longest: float = LONGEST_WAIT,
) -> float | None:
    """Returns the seconds to wait before the next try, or None if `error` is final.

    If the server says when to come back (`error.retry_after`), the wait is exactly that long: the server
    is never asked earlier. Otherwise the wait doubles from try to try. If the wait would exceed
    `longest` or `left`, the error is final.

    Args:
        error: Why the last try failed.
        tries: How many tries were made.
        left: The seconds that remain of the deadline.
        spread: From 0 to 1: lengthens the wait by this share, unless the server has set it. If it is
            random, the calls of many clients do not come back together.
        most: How many tries are allowed.
        longest: The longest wait, in seconds.
    """
    if not error.transient or tries >= most:
        return None
    if error.retry_after is not None:
        wanted = error.retry_after
    else:
        wanted = _FIRST_WAIT * 2 ** (tries - 1) * (1 + spread)
    return wanted if wanted <= min(longest, left) else None


def retrying(
    *,
    left: Callable[[], float],
    spread: Callable[[], float],
    before_sleep: Callable[[EngineError, int, float], None] | None = None,
    most: int = TRIES,
    longest: float = LONGEST_WAIT,
) -> AsyncRetrying:
    """Returns the loop over the tries of one call, by the rules of `pause`.

        async for attempt in retrying(left=left, spread=random.random):
            with attempt:
                return await call()

    An error that is final is raised by the loop as it is, and so is a cancellation. They leave the
    `with` block first, so no statement may follow it inside the loop.

    Args:
        left: Returns the seconds that remain of the deadline.
        spread: Returns the `spread` of the next wait.
        before_sleep: Called before each wait with the error, the number of tries and the seconds.
        most: How many tries are allowed.
        longest: The longest wait, in seconds.
    """

    # tenacity asks for the wait before it asks whether to stop. So the pause is computed once for each
    # failure, and an infinite wait means that the error is final.
    def wait(state: RetryCallState) -> float:
        seconds = pause(_error(state), state.attempt_number, left(), spread(), most, longest)
        return math.inf if seconds is None else seconds

    def is_final(state: RetryCallState) -> bool:
        return state.upcoming_sleep == math.inf

    def report(state: RetryCallState) -> None:
        if before_sleep is not None:
            before_sleep(_error(state), state.attempt_number, state.upcoming_sleep)

    return AsyncRetrying(
        sleep=_sleep,
        stop=is_final,
        wait=wait,
        retry=_has_failed,
        before_sleep=report,
        reraise=True,
    )


def _has_failed(state: RetryCallState) -> bool:
    """Whether the engine failed. Any other error, above all a cancellation, leaves the loop at once."""
    assert state.outcome is not None
    return isinstance(state.outcome.exception(), EngineError)


def _error(state: RetryCallState) -> EngineError:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, EngineError)
    return error


async def _sleep(seconds: float) -> None:
    # A recorded failure has a pause of 0. A resumed run must not yield there: it reads its trace in one
    # go, so that a stage that ended early does not cut the reading short.
    if seconds > 0:
        await anyio.sleep(seconds)


def is_transient(status: int) -> bool:
    """Whether a request that was answered with this HTTP status may be sent again."""
    return status in (408, 425, 429) or status >= 500


def read_retry_after(header: str | None, now: datetime) -> float | None:
    """Returns the seconds that a `Retry-After` header asks for, given as a number or as a date.

    Returns None if there is no header, or if it is neither. A date in the past means 0 seconds.
    """
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    # A date without a zone is in UTC.
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds())
