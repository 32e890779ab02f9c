"""What a FaultServer does wrong on request. Values only: `FaultServer.fail` puts them in its queue.

A fault that has `after` lets so many tokens of the answer through first. Where the answer is not
streamed, the time of those tokens passes, and the fault is in the one body.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import anyio

ALL = sys.maxsize
"""As `after`: all tokens of the answer's text, whatever their number."""

_CHAT = "/v1/chat/completions"

BAD_JSON = b'data: {"text": "so\n\n'
"""An event that is framed as it should be, and whose data is no JSON."""

BAD_SSE = b'{"text": "so far"}\n\nevent\n\ndata{"text": "so good"}\n\n'
"""Lines that no reader of server-sent events finds any data in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong, for the next `times` requests to `path`.

    `times` None means every request. `path` None means each path that gives answers: `/generate`,
    `/v1/completions` and `/v1/chat/completions`.
    """

    times: int | None = 1
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Status(Fault):
    """An HTTP error in place of an answer; the request is not looked at.

    `retry_after` is the header `Retry-After`: seconds, or an HTTP date as text. `message` is what
    the body's error says, in the words of the API; with `body`, the body is that instead.
    """

    code: int = 503
    retry_after: float | str | None = None
    message: str = "the test wants it so"
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Reset(Fault):
    """The connection is reset (TCP RST) after so many tokens, None: before any of the response."""

    after: int | None = None


@dataclass(frozen=True, slots=True)
class Crash(Fault):
    """The whole server goes, after so many tokens of this answer, None: before any response.

    Every connection is reset and new ones are refused, until `FaultServer.restart`.
    """

    after: int | None = None


@dataclass(frozen=True, slots=True)
class Stall(Fault):
    """Nothing comes after so many tokens, None: not even the response's head.

    It lasts until the request is aborted or its reader has gone.
    """

    after: int | None = None


@dataclass(frozen=True, slots=True)
class Slow(Fault):
    """Each event that brings tokens, and the end, waits before it is sent.

    `seconds` is how long. With a `gate`, it waits for a place in that semaphore first and keeps it:
    start it at 0, and each `release()` lets one event through, whatever the clock says.
    """

    seconds: float = 0.0
    gate: anyio.Semaphore | None = None


@dataclass(frozen=True, slots=True)
class Garbage(Fault):
    """The body is `data` from there on, and ends. See BAD_JSON and BAD_SSE."""

    data: bytes = BAD_JSON
    after: int = 0


@dataclass(frozen=True, slots=True)
class Failure(Fault):
    """An error inside the stream, whose HTTP status was 200; one that is not streamed has `code`."""

    message: str = "the test wants it so"
    code: int = 500
    after: int = 0


@dataclass(frozen=True, slots=True)
class Truncated(Fault):
    """The connection is closed in good order in the middle of the body, half an event later."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class Unfinished(Fault):
    """The answer ends in good order, but without its finish reason, or without `[DONE]`.

    It ends after so many tokens. With `done`, `[DONE]` is sent all the same. With `finish`, the
    answer is whole and only `[DONE]` is missing.
    """

    after: int = ALL
    done: bool = False
    finish: bool = False


@dataclass(frozen=True, slots=True)
class Filtered(Fault):
    """OpenAI's content filter ends the answer after so many tokens: that is its finish reason."""

    after: int = 0
    path: str | None = field(default=_CHAT, kw_only=True)


@dataclass(frozen=True, slots=True)
class Declined(Fault):
    """The model declines, as OpenAI's chat says it: the answer's text is the message's `refusal`."""

    path: str | None = field(default=_CHAT, kw_only=True)


@dataclass(frozen=True, slots=True)
class SingleNewlines(Fault):
    """One newline, not two, behind each event: by the letter of SSE they are one event."""


@dataclass(frozen=True, slots=True)
class Drip(Fault):
    """Each byte of the stream in an HTTP chunk of its own. No fault, but readers stumble on it."""


Cut = Reset | Crash | Stall | Garbage | Failure | Truncated
"""The faults that end an answer before it is whole; so does an Unfinished without `finish`."""


def cut_after(fault: Fault | None) -> int | None:
    """After how many tokens the fault ends the answer; None where it does not."""
    if isinstance(fault, Cut):
        return fault.after or 0
    if isinstance(fault, Unfinished) and not fault.finish:
        return fault.after
    return None


def before_head(fault: Fault | None) -> bool:
    """Whether the fault comes before anything is answered."""
    return isinstance(fault, Reset | Crash | Stall) and fault.after is None
