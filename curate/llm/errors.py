"""What a failed try means: whether it is retried, and how the query ends if it is not. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping

import httpx2

from curate.drops import Dropped, Reason
from curate.llm.endpoint import EndpointDown
from sprint_agent.engines.http_client import connection_error
from sprint_agent.engines.openai import wire
from sprint_agent.engines.server_errors import error_field
from sprint_agent.errors import ContextTooLong, EngineError

# These statuses mean that no query is answered: a wrong key, model or path, or no money. The same is
# true of a redirect.
_DOWN = (401, 402, 404, 405)

_UNPAID = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
"""OpenAI's codes for an account that must be paid first. They may come with any status."""

LONGEST_WAIT = 15 * 60.0
"""Seconds that a server may ask a client to wait. If it asks for more, the run ends."""

_FILTERED = ("content_filter", "content_policy_violation")
"""The codes of a filter that rejected the prompt: OpenAI's and Azure's."""

_TRANSIENT = (
    httpx2.TimeoutException,
    httpx2.NetworkError,
    httpx2.RemoteProtocolError,
    httpx2.DecodingError,
)


class RequestFailed(EngineError):
    """One try of a query failed."""

    def __init__(
        self,
        outcome: Dropped | EndpointDown,
        *,
        transient: bool = False,
        retry_after: float | None = None,
        too_long: bool = False,
        endpoint_wide: bool = False,
        unsent: bool = False,
    ) -> None:
        super().__init__(str(outcome), transient=transient, retry_after=retry_after)
        self.outcome = outcome
        """The error that ends the query if there is no further try."""
        self.too_long = too_long
        """Whether prompt and answer do not fit into the model's context."""
        self.endpoint_wide = endpoint_wide
        """Whether every other query may fail in the same way: the cause need not be in this prompt."""
        self.unsent = unsent
        """Whether no server received the request, so that it costs nothing."""


def from_status(url: str, status: int, body: object, headers: Mapping[str, str]) -> RequestFailed:
    """Returns what an HTTP error means, given its status, its parsed body and its headers."""
    error = wire.status_error(url, status, body, headers)
    message, code = str(error), error_field(body, "code")
    if status in _DOWN or status < 400 or code in _UNPAID:
        return RequestFailed(EndpointDown(message))
    if error.retry_after is not None and error.retry_after > LONGEST_WAIT:
        wait = f"it asks to wait for {error.retry_after:g} s"
        return RequestFailed(EndpointDown(f"{message}; {wait}: run the same command again then"))
    if error.transient:
        reason = Reason.BUSY if status == 429 else Reason.FAILED
        return RequestFailed(
            Dropped(reason, message), transient=True, retry_after=error.retry_after
        )
    if code in _FILTERED:
        return RequestFailed(Dropped(Reason.REFUSED, message))
    if isinstance(error, ContextTooLong):
        return RequestFailed(Dropped(Reason.REJECTED, message), too_long=True)
    # A 403 means a key without permissions, or a prompt that a router's moderation forbids.
    reason = Reason.REFUSED if status == 403 else Reason.REJECTED
    return RequestFailed(Dropped(reason, message), endpoint_wide=True)


def from_exception(url: str, error: BaseException, timeout: float) -> RequestFailed:
    """Returns what an exception of the HTTP client means, which allows `timeout` seconds of silence."""
    message, transient = str(connection_error(url, error, timeout)), isinstance(error, _TRANSIENT)
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout) or not transient:
        return RequestFailed(EndpointDown(message), transient=transient, unsent=True)
    return RequestFailed(Dropped(Reason.FAILED, message), transient=True)


def too_slow(url: str, timeout: float) -> RequestFailed:
    """Returns the error of an answer that was not complete after `timeout` seconds."""
    detail = f"the server at {url} took longer than {timeout:g} s"
    return RequestFailed(Dropped(Reason.FAILED, detail), transient=True)


def malformed(url: str, error: ValueError) -> RequestFailed:
    """Returns the error of a response that has a status of success but is not a chat completion."""
    detail = f"the server at {url} sent no chat completion: {error}"
    return RequestFailed(Dropped(Reason.FAILED, detail), transient=True)
