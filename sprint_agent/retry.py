"""Which failed calls are sent again, and when. `pause` has the rules, `retrying` hands them to tenacity.

Only a failure that the engine marks as transient is retried: a refused connection, a 5xx, a full
server, a connection that was reset. Each try is a call with its own request id.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
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

_EPOCH = 1e9
"""A number from here on is a time in seconds of the Unix epoch, and not a duration."""

_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6}
# Longer numbers are no durations, and would be searched again from each of their digits.
_DURATION_PART = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?) ?(ms|us|µs|d|h|m|s)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern} ?)+")


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


def requested_wait(headers: Mapping[str, str], now: datetime) -> float | None:
    """Returns the seconds after which a server wants to be asked again, by the headers of its error.

    `Retry-After` counts first, then the headers of rate limits that say when a limit is reset. Of
    several limits, those count of which nothing remains. Returns None if no header can be read.
    """
    fields = {name.lower(): value for name, value in headers.items()}
    milliseconds = read_retry_after(fields.get("retry-after-ms"), now)
    if milliseconds is not None:
        return milliseconds / 1000
    seconds = read_retry_after(fields.get("retry-after"), now)
    if seconds is not None:
        return seconds
    resets: dict[str, float] = {}
    for name, value in fields.items():
        if "ratelimit" in name and "reset" in name:
            wait = read_retry_after(value, now)
            if wait is not None:
                resets[name] = wait
    used_up = [
        wait
        for name, wait in resets.items()
        if _is_zero(fields.get(name.replace("reset", "remaining")))
    ]
    return max(used_up) if used_up else min(resets.values(), default=None)


def read_retry_after(value: str | None, now: datetime) -> float | None:
    """Returns the seconds that the value of a header asks to wait.

    The value is a number of seconds ("7"), a duration ("2s", "1m30.5s", "20ms"), a time in seconds or
    milliseconds of the Unix epoch, or a date (of HTTP, or by ISO 8601). Returns None if there is no
    value, or if it cannot be read. A time in the past means 0 seconds.
    """
    if value is None:
        return None
    text = value.strip()
    try:
        number = float(text)
    except ValueError:
        seconds = _read_duration(text)
        return _read_date(text, now) if seconds is None else seconds
    for unit in (1000.0, 1.0):
        if number >= _EPOCH * unit:
            return max(0.0, number / unit - now.timestamp())
    return max(0.0, number)


def _read_duration(text: str) -> float | None:
    """Returns the seconds of a duration such as "1m30.5s"."""
    if not text or not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text))


def _read_date(text: str, now: datetime) -> float | None:
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            until = read(text)
            # A date without a zone is in UTC.
            return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds())
        except (ValueError, OverflowError, TypeError, IndexError):
            # The parsers raise all of these for dates that are not possible.
            continue
    return None


def _is_zero(value: str | None) -> bool:
    return value is not None and value.strip() in ("0", "0.0")
