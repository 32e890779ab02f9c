"""The faults of a FaultServer. They are plain values: `FaultServer.fail` puts them in its queue.

A fault with `after` first lets that many tokens of the answer pass. If the answer is not streamed,
the time of these tokens passes, and the fault is in the body.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

import anyio

ALL = sys.maxsize
"""A value for `after`: all tokens of the answer's text."""

_CHAT = "/v1/chat/completions"

BAD_JSON = b'data: {"text": "so\n\n'
"""An event that is framed correctly but whose data is not JSON."""

BAD_SSE = b'{"text": "so far"}\n\nevent\n\ndata{"text": "so good"}\n\n'
"""Lines in which a reader of server-sent events finds no data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong for the next `times` requests to `path`."""

    times: int | None = 1
    """How many requests it affects, or None for all."""
    path: str | None = None
    """The path that it affects, or None for each path that returns answers.

    These are `/generate`, `/v1/completions` and `/v1/chat/completions`.
    """

    def concerns(self, body: Mapping[str, object]) -> bool:
        """Returns whether the fault happens to a request with this body."""
        return True


@dataclass(frozen=True, slots=True)
class Status(Fault):
    """An HTTP error instead of an answer. The request is not evaluated."""

    code: int = 503
    retry_after: float | str | None = None
    """The header `Retry-After`: seconds, or an HTTP date as text."""
    message: str = "the test requested this error"
    """The message of the error in the body, which has the format of the API."""
    body: bytes | None = None
    """Replaces the body."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """More headers, such as `{"retry-after-ms": "2000"}` or `{"content-type": "text/html"}`."""


@dataclass(frozen=True, slots=True)
class Refused(Fault):
    """The server refuses each request that contains a parameter."""

    parameter: str = "temperature"
    message: str = "Unsupported parameter: '{parameter}' is not supported with this model."
    """The message of the error. Servers say it in many ways."""
    code: int = 400
    body: bytes | None = None
    """Replaces the body."""
    times: int | None = field(default=None, kw_only=True)

    def concerns(self, body: Mapping[str, object]) -> bool:
        return self.parameter in body or any(
            isinstance(value, dict) and self.parameter in value for value in body.values()
        )


@dataclass(frozen=True, slots=True)
class TooManyTokens(Fault):
    """The server refuses each request for more than `most` tokens."""

    most: int = 4096
    message: str = (
        "max_tokens is too large: {asked}. This model supports at most {most} completion tokens."
    )
    code: int = 400
    times: int | None = field(default=None, kw_only=True)

    def concerns(self, body: Mapping[str, object]) -> bool:
        return self.asked(body) > self.most

    def asked(self, body: Mapping[str, object]) -> int:
        """Returns how many tokens a request asks for."""
        sampling = body.get("sampling_params")
        nested = cast("dict[str, object]", sampling) if isinstance(sampling, dict) else {}
        names = ("max_tokens", "max_completion_tokens", "max_new_tokens")
        found = [place.get(name) for place in (body, nested) for name in names]
        return max((count for count in found if isinstance(count, int)), default=0)


@dataclass(frozen=True, slots=True)
class Reset(Fault):
    """The connection is reset (TCP RST)."""

    after: int | None = None
    """After how many tokens, or None for before the response."""


@dataclass(frozen=True, slots=True)
class Crash(Fault):
    """The whole server crashes.

    Every connection is reset, and new ones are refused until `FaultServer.restart`.
    """

    after: int | None = None
    """After how many tokens of this answer, or None for before the response."""


@dataclass(frozen=True, slots=True)
class Stall(Fault):
    """The server sends nothing more until the request is aborted or its client disconnects."""

    after: int | None = None
    """After how many tokens, or None for before the head of the response."""


@dataclass(frozen=True, slots=True)
class Slow(Fault):
    """Each event with tokens, and the end, is delayed."""

    seconds: float = 0.0
    """The delay before each event."""
    gate: anyio.Semaphore | None = None
    """A semaphore that each event acquires first and never releases.

    If it starts at 0, each `release()` by the test lets one event pass, independent of the clock.
    """


@dataclass(frozen=True, slots=True)
class Garbage(Fault):
    """The rest of the body is replaced. See BAD_JSON and BAD_SSE."""

    data: bytes = BAD_JSON
    """The bytes that replace the rest."""
    after: int = 0


@dataclass(frozen=True, slots=True)
class Failure(Fault):
    """An error inside the stream, whose HTTP status was 200."""

    message: str = "the test requested this error"
    code: int | str | None = 500
    """The code of the error. If the answer is not streamed, it is the HTTP status, or that is 500."""
    after: int = 0
    kind: str | None = None
    """The type of the error, such as "overloaded_error". None for the usual one."""
    form: Literal["data", "event", "field", "line"] = "data"
    """How the error is sent: as data, in an event named error, in a field `error:` as llama.cpp's server
    does, or as a line of JSON alone."""


@dataclass(frozen=True, slots=True)
class Aborted(Fault):
    """SGLang's server aborts the answer, as when its weights are replaced."""

    status: int | str | None = None
    """The status in the finish reason. Mostly there is none."""
    message: str = "Aborted"
    after: int = 0
    path: str | None = field(default="/generate", kw_only=True)


@dataclass(frozen=True, slots=True)
class Truncated(Fault):
    """The connection is closed normally in the middle of the body, after half of an event."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class Unfinished(Fault):
    """The body ends normally, but without the finish reason, without `[DONE]`, or without both."""

    after: int = ALL
    """After how many tokens the answer ends."""
    done: bool = False
    """Whether `[DONE]` is sent all the same."""
    finish: bool = False
    """Whether the answer is complete and only `[DONE]` is missing."""


@dataclass(frozen=True, slots=True)
class Heartbeats(Fault):
    """After `after` tokens, only heartbeats come, until the request is aborted or its client leaves."""

    after: int = ALL
    finish: bool = False
    """Whether the answer is complete, with its finish reason. Only the end of the stream is missing."""
    data: bytes = b": ping\n\n"
    seconds: float = 0.01
    """The pause before each."""


@dataclass(frozen=True, slots=True)
class Noise(Fault):
    """These bytes come before each event. A client must ignore them.

    For example `b"data:\\n\\n"`, `b"data: {}\\n\\n"` or `b"event: ping\\ndata: {}\\n\\n"`.
    """

    data: bytes = b": ping\n\n"


@dataclass(frozen=True, slots=True)
class EarlyFinish(Fault):
    """Each event has a finish reason, and not only the last one."""

    reason: str = "stop"


@dataclass(frozen=True, slots=True)
class FinishedAs(Fault):
    """The answer ends with another word for its finish reason, such as "eos" or "MAX_TOKENS"."""

    reason: str = "eos_token"


@dataclass(frozen=True, slots=True)
class Miscounted(Fault):
    """The usage is wrong. A count that is None is left out."""

    prompt: float | None = 0
    completion: float | None = 0
    cached: float | None = 0


@dataclass(frozen=True, slots=True)
class Unlimited(Fault):
    """The server ignores how many tokens the request asks for, and generates the whole reply."""


@dataclass(frozen=True, slots=True)
class Unstreamed(Fault):
    """The answer comes in one piece, though the request wants a stream."""


@dataclass(frozen=True, slots=True)
class Parts(Fault):
    """The content of a chat is a list of parts: a thought, and then text."""

    path: str | None = field(default=_CHAT, kw_only=True)


@dataclass(frozen=True, slots=True)
class Filtered(Fault):
    """OpenAI's content filter ends the answer after `after` tokens and is its finish reason."""

    after: int = 0
    path: str | None = field(default=_CHAT, kw_only=True)


@dataclass(frozen=True, slots=True)
class Declined(Fault):
    """The model declines: the text of the answer is the `refusal` of an OpenAI chat message."""

    path: str | None = field(default=_CHAT, kw_only=True)


@dataclass(frozen=True, slots=True)
class SingleNewlines(Fault):
    """One newline instead of two after each event. The SSE standard makes them one event."""


@dataclass(frozen=True, slots=True)
class Drip(Fault):
    """Each byte of the stream is in its own HTTP chunk. It is valid, but readers may fail on it."""


Cut = Reset | Crash | Stall | Garbage | Failure | Truncated | Aborted
"""The faults that end an answer before it is complete.

An Unfinished or Heartbeats without `finish` does too.
"""


def cut_after(fault: Fault | None) -> int | None:
    """Returns after how many tokens the fault ends the answer, or None if it does not."""
    if isinstance(fault, Cut):
        return fault.after or 0
    if isinstance(fault, Unfinished | Heartbeats) and not fault.finish:
        return fault.after
    return None


def before_head(fault: Fault | None) -> bool:
    """Returns whether the fault happens before anything is sent."""
    return isinstance(fault, Reset | Crash | Stall) and fault.after is None


def status_of(fault: Fault | None, body: Mapping[str, object]) -> Status | None:
    """Returns the HTTP error that the fault asks for. None if it asks for none."""
    match fault:
        case Status():
            return fault
        case Refused(code=code, body=replaced):
            message = fault.message.replace("{parameter}", fault.parameter)
            return Status(code, message=message, body=replaced)
        case TooManyTokens(code=code):
            asked, most = str(fault.asked(body)), str(fault.most)
            message = fault.message.replace("{asked}", asked).replace("{most}", most)
            return Status(code, message=message)
        case _:
            return None
