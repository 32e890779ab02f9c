"""Reads what servers say when they fail: one reader for all. Pure: no I/O, no await.

An error may be the body of an HTTP error, an event of a stream whose status is 200, or a body of status
200. Its status may be a number, a number as text, or only a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast

from sprint_agent import retry
from sprint_agent.errors import ContextTooLong, EngineError, EngineUnavailable, RequestRefused
from sprint_agent.protocol.context import replace_surrogates

_MESSAGE_CHARACTERS = 300
_READ_CHARACTERS = 20_000
"""How much of a body is read for a message. A server may send megabytes."""

_WORDS = {
    400: "invalid_request_error invalid_request invalid_argument bad_request badrequesterror "
    "validation_error unsupported_parameter unsupported_value unknown_parameter "
    "context_length_exceeded exceed_context_size_error failed_precondition",
    401: "authentication_error unauthenticated unauthorized invalid_api_key",
    402: "insufficient_credits payment_required",
    403: "permission_error permission_denied forbidden",
    404: "not_found_error not_found model_not_found notfounderror",
    408: "request_timeout",
    413: "request_too_large",
    429: "rate_limit_exceeded rate_limit_error rate_limited rate_limit ratelimiterror "
    "too_many_requests resource_exhausted tokens_exceeded engine_overloaded throttlingexception",
    500: "server_error internal_server_error internal_error internal internalservererror api_error "
    "unknown_error upstream_error aborted",
    502: "bad_gateway",
    503: "overloaded_error overloaded service_unavailable unavailable unavailable_error "
    "service_unavailable_error server_overloaded server_busy capacity_exceeded",
    504: "timeout timeout_error gateway_timeout deadline_exceeded",
}
_STATUS_OF_WORD = {word: status for status, words in _WORDS.items() for word in words.split()}
"""The HTTP status that a code or a type of error means."""

_BUSY = re.compile(
    r"\boverloaded|\btry again|\btemporarily|\brate.?limit|\btoo many requests|\bat capacity"
    r"|\btimed? ?out\b|\bserver is busy",
    re.IGNORECASE,
)
"""What a message of an error without any status says if the call may succeed later."""

_UNPAID = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
"""Codes for an account that must be paid first. They come with the status of a server that is busy."""

_TOO_LONG = re.compile(
    r"context.?(?:length|window|size|limit)|(?:prompt|input)s? (?:is|are) too long"
    r"|(?:longer|larger|more) than the (?:model|maximum)|too many (?:input|prompt) tokens"
    r"|reduce the length|maximum (?:sequence|prompt|input|model) length"
    r"|inputs` tokens \+|exceed\w* the (?:maximum )?(?:number of )?(?:input|prompt) tokens",
    re.IGNORECASE,
)

_TITLE = re.compile(r"<title[^<>]*>([^<]*)", re.IGNORECASE)
_MARKUP = re.compile(r"<[^<>]*>")


class ErrorReply(Exception):
    """A server sent an error in place of an answer. Internal: engines turn it into an EngineError."""

    def __init__(
        self, status: int | None, body: object, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"status {status}: {error_message(body)}")
        self.status = status
        self.body = body
        self.headers = headers or {}


def error_in(event: dict[str, object]) -> ErrorReply | None:
    """Returns the error that an event, or a body of status 200, contains. None if it contains none."""
    marked = event.get("error") or event.get("object") == "error" or event.get("type") == "error"
    answers = ("choices", "meta_info", "output_ids")
    if marked or not any(name in event for name in answers):
        status = read_status(event)
        if marked or (status is not None and error_message(event, default="")):
            return ErrorReply(status, event)
    return None


def read_status(body: object) -> int | None:
    """Returns the HTTP status of an error that an event or a body contains. None if it says none."""
    if not isinstance(body, dict):
        return None
    facts = cast("dict[str, object]", body)
    inner = error_object(facts)
    places = [cast("dict[str, object]", inner), facts] if isinstance(inner, dict) else [facts]
    names = ("code", "status_code", "status", "http_code", "type", "err_type")
    found = [place.get(name) for place in places for name in names]
    for value in found:
        number = _number(value)
        if number is not None and 400 <= number < 600:
            return number
    words = [str(value).strip().lower() for value in found if isinstance(value, str)]
    for word in words:
        if word in _STATUS_OF_WORD:
            return _STATUS_OF_WORD[word]
    is_error = any(name in facts for name in ("error", "message", "detail"))
    return 503 if is_error and _BUSY.search(error_message(facts)) else None


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 9:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def error_object(body: object) -> object:
    """Returns the object with the details of an error, which some servers put into "error"."""
    if not isinstance(body, dict):
        return body
    facts = cast("dict[str, object]", body)
    return facts.get("error") or facts


def error_field(body: object, name: str) -> object:
    """Returns a field of an error. None if there is none."""
    facts = error_object(body)
    return cast("dict[str, object]", facts).get(name) if isinstance(facts, dict) else None


def error_message(body: object, *, default: str = "it gave no reason") -> str:
    """Returns the message in an error's body, on one line and shortened."""
    for key in ("error", "message", "detail", "msg", "errors"):
        if isinstance(body, list) and len(cast("list[object]", body)) == 1:
            body = cast("list[object]", body)[0]
        # A validation error with a place is shown as it is: the place is what matters.
        if isinstance(body, dict) and "loc" not in body:
            body = cast("dict[str, object]", body).get(key) or cast("object", body)
    if body is None or body == {}:
        return default
    try:
        return shortened(str(cast("object", body))) or default
    except RecursionError:
        return "its reason is nested too deeply"


def shortened(text: str) -> str:
    """Returns a server's words as one short line that can be encoded. Of a web page, its title."""
    text = text[:_READ_CHARACTERS]
    title = _TITLE.search(text)
    if title:
        text = title[1]
    elif text.lstrip()[:1] == "<":
        text = _MARKUP.sub(" ", text)
    return replace_surrogates(" ".join(text.split())[:_MESSAGE_CHARACTERS])


def status_error(
    url: str, status: object, body: object, headers: Mapping[str, str] | None = None
) -> EngineError:
    """Returns the error for an HTTP status (of a response, or inside an event) and its body."""
    reason = error_message(body)
    if isinstance(status, int) and retry.is_transient(status):
        problem = "is too busy" if status == 429 else "failed"
        message = f"the server at {url} {problem} ({status}): {reason}"
        if _is_unpaid(body):
            return EngineUnavailable(f"{message} (pay for the account first)")
        wait = retry.requested_wait(headers or {}, datetime.now(UTC))
        return EngineUnavailable(message, transient=True, retry_after=wait)
    if _TOO_LONG.search(f"{reason} {error_field(body, 'code')} {error_field(body, 'type')}"):
        return ContextTooLong(
            f"the prompt and its answer do not fit into the context of the model at {url}: ask for "
            f"fewer max_tokens, or shorten the question ({reason})"
        )
    if isinstance(status, int) and 400 <= status < 500:
        return RequestRefused(f"the server at {url} refused the request: {reason}")
    return EngineError(f"the server at {url} aborted the request: {reason}")


def _is_unpaid(body: object) -> bool:
    return error_field(body, "code") in _UNPAID or error_field(body, "type") in _UNPAID
