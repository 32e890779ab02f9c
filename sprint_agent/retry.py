"""Which failed calls are sent again, and when. Pure rules; `calls.Caller` applies them.

Only what the engine marks as transient is retried: a refused connection, a 5xx, a full server, a
connection that was reset. Each try is a call of its own, with a request id of its own.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from sprint_agent.errors import EngineError

TRIES = 3
"""Calls in all, the first one included."""
LONGEST_WAIT = 60.0
"""Seconds: a server that asks a run for more patience than this gets none."""
_FIRST_WAIT = 0.25


def pause(
    error: EngineError,
    tries: int,
    left: float,
    spread: float,
    most: int = TRIES,
    longest: float = LONGEST_WAIT,
) -> float | None:
    """Seconds to wait before the next try, at most `longest`, or None where `error` is final.

    `tries` were made of `most`, and `left` seconds remain of the deadline. A server that says when to
    come back (`retry_after`) is taken at its word, and never asked earlier; where that is too late,
    the call fails at once. `spread`, from 0 to 1, keeps the calls of many from coming back together.
    """
    if not error.transient or tries >= most:
        return None
    if error.retry_after is not None:
        wanted = error.retry_after
    else:
        wanted = _FIRST_WAIT * 2 ** (tries - 1) * (1 + spread)
    return wanted if wanted <= min(longest, left) else None


def is_transient(status: int) -> bool:
    """Whether a request that was answered with this HTTP status may be sent again."""
    return status in (408, 425, 429) or status >= 500


def read_retry_after(header: str | None, now: datetime) -> float | None:
    """The seconds that a `Retry-After` header asks for (a number, or a date); None for no such."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return None
    # A date without a zone is one of UTC.
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds())
