"""The faults of a FaultServer. They are plain values: `FaultServer.fail` puts them in its queue.

A fault with `after` first lets that many tokens of the answer pass. If the answer is not streamed,
the time of these tokens passes, and the fault is in the body.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

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
    code: int = 500
    """The code of the error. It is the HTTP status if the answer is not streamed."""
    after: int = 0


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


Cut = Reset | Crash | Stall | Garbage | Failure | Truncated
"""The faults that end an answer before it is complete. An Unfinished without `finish` does too."""


def cut_after(fault: Fault | None) -> int | None:
    """Returns after how many tokens the fault ends the answer, or None if it does not."""
    if isinstance(fault, Cut):
        return fault.after or 0
    if isinstance(fault, Unfinished) and not fault.finish:
        return fault.after
    return None


def before_head(fault: Fault | None) -> bool:
    """Returns whether the fault happens before anything is sent."""
    return isinstance(fault, Reset | Crash | Stall) and fault.after is None
