"""What a failed try means: whether it is made again, and how the query ends where it is not. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import httpx2

from curate.drops import Dropped, Reason
from curate.llm.endpoint import EndpointDown
from sprint_agent.engines.http_client import connection_error
from sprint_agent.engines.openai import wire
from sprint_agent.errors import ContextTooLong, EngineError

# Nobody's queries are answered where these are: a wrong key, model or path, no money. So are redirects.
_DOWN = (401, 402, 404, 405)

_UNPAID = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
"""OpenAI's codes where nobody's queries are answered until somebody pays; their status is any."""

LONGEST_WAIT = 15 * 60.0
"""Seconds that a server may ask for: curation has the time, and ends where it is asked for more."""

_FILTERED = ("content_filter", "content_policy_violation")
"""Codes of a filter that has read the prompt: OpenAI's, and Azure's."""

_PASSING = (
    httpx2.TimeoutException,
    httpx2.NetworkError,
    httpx2.RemoteProtocolError,
    httpx2.DecodingError,
)


class Failed(EngineError):
    """A try that failed. `outcome` is what the query ends with if it is not made again.

    `too_long` says that prompt and answer do not fit into the model's context; `anybodys` that every
    other query may end so too, for it need not be this prompt that the server takes exception to;
    `unsent` that no server has it, which costs nothing.
    """

    def __init__(
        self,
        outcome: Dropped | EndpointDown,
        *,
        transient: bool = False,
        retry_after: float | None = None,
        too_long: bool = False,
        anybodys: bool = False,
        unsent: bool = False,
    ) -> None:
        super().__init__(str(outcome), transient=transient, retry_after=retry_after)
        self.too_long = too_long
        self.anybodys = anybodys
        self.unsent = unsent
        self.outcome = outcome


def by_status(url: str, status: int, said: object, headers: Mapping[str, str]) -> Failed:
    """What an HTTP error means: its status, its body, its headers."""
    error = wire.status_error(url, status, said, headers)
    words, code = str(error), wire.error_field(said, "code")
    if status in _DOWN or status < 400 or code in _UNPAID:
        return Failed(EndpointDown(words))
    if error.retry_after is not None and error.retry_after > LONGEST_WAIT:
        wait = f"it wants to be left alone for {error.retry_after:g} s"
        return Failed(EndpointDown(f"{words}; {wait}: run the same command again then"))
    if error.transient:
        reason = Reason.BUSY if status == 429 else Reason.FAILED
        return Failed(Dropped(reason, words), transient=True, retry_after=error.retry_after)
    if code in _FILTERED:
        return Failed(Dropped(Reason.REFUSED, words))
    if isinstance(error, ContextTooLong):
        return Failed(Dropped(Reason.REJECTED, words), too_long=True)
    # A key that may do nothing, or a prompt that a router's moderation forbids.
    reason = Reason.REFUSED if status == 403 else Reason.REJECTED
    return Failed(Dropped(reason, words), anybodys=True)


def by_error(url: str, error: BaseException, seconds: float) -> Failed:
    """What an exception of the HTTP client means, which waits `seconds` for a server that is silent."""
    words, passing = str(connection_error(url, error, seconds)), isinstance(error, _PASSING)
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout) or not passing:
        return Failed(EndpointDown(words), transient=passing, unsent=True)
    return Failed(Dropped(Reason.FAILED, words), transient=True)


def too_slow(url: str, seconds: float) -> Failed:
    """The answer was not whole after so many seconds."""
    detail = f"the server at {url} took longer than {seconds:g} s"
    return Failed(Dropped(Reason.FAILED, detail), transient=True)


def malformed(url: str, error: ValueError) -> Failed:
    """The server said that all was well, and sent no chat completion."""
    detail = f"the server at {url} sent no chat completion: {error}"
    return Failed(Dropped(Reason.FAILED, detail), transient=True)
