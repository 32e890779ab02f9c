"""The body of a response: events, whole bodies, and waiting for them."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Sequence

import anyio
import pytest

pytest.importorskip("httpx2")

import httpx2

from sprint_agent.engines.event_body import Event, EventBody
from sprint_agent.engines.server_errors import ErrorReply
from sprint_agent.errors import EngineError, EngineStalled, EngineUnavailable, TruncatedStream

pytestmark = pytest.mark.anyio


class Chunks(httpx2.AsyncByteStream):
    """These bytes, and then the end, silence, or an error."""

    def __init__(
        self, chunks: Sequence[bytes], *, hang: bool = False, error: Exception | None = None
    ) -> None:
        self.chunks = chunks
        self.hang = hang
        self.error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk
        if self.hang:
            await anyio.sleep_forever()
        if self.error is not None:
            raise self.error


def body_of(
    *chunks: bytes, idle: float = 30.0, hang: bool = False, error: Exception | None = None
) -> EventBody:
    response = httpx2.Response(200, stream=Chunks(chunks, hang=hang, error=error))
    return EventBody(response, "http://h", idle)


async def read_all(body: EventBody) -> list[Event]:
    events: list[Event] = []
    try:
        while (more := await body.read()) is not None:
            events += more
    finally:
        await body.close()
    return events


async def test_the_events_of_a_stream() -> None:
    body = body_of(
        b'data: {"a": 1}\n\n: x\n\ndata:\n\n', b'data: {"b": 2}\n\ndata: [DONE]\n\ndata: {}\n\n'
    )
    assert await read_all(body) == [{"a": 1}, {"b": 2}]
    assert body.ended


@pytest.mark.parametrize("cut", [1, 5, 7])
async def test_a_body_in_one_piece_is_one_event(cut: int) -> None:
    whole = b' \n{"choices": [7]}\n'
    assert await read_all(body_of(whole[:cut], whole[cut:])) == [{"choices": [7]}]
    assert await read_all(body_of(b"[", whole, b"]")) == [{"choices": [7]}]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b'{"error": "no"}', ErrorReply, "no"),
        (b'{"other": "no"}', ErrorReply, "no"),
        (b"<title>Log in</title>", EngineUnavailable, "a web page.*Log in"),
        (b"{not JSON}", EngineUnavailable, "with text.*not JSON"),
        (b"[1, 2]", EngineUnavailable, r"with text.*\[1, 2\]"),
        (b"data: {not JSON}\n\n", EngineError, "unreadable event"),
        (b'event: error\ndata: {"message": "no"}\n\n', ErrorReply, "no"),
        (b"event: error\ndata: no\n\n", ErrorReply, "no"),
        (b"error: no\n\n", ErrorReply, "no"),
        (b'data: {"a": 1}\n{"error": "no"}\n', ErrorReply, "no"),
    ],
)
async def test_what_is_not_an_answer(data: bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        await read_all(body_of(data))


async def test_events_before_an_error_are_read_first() -> None:
    body = body_of(b'data: {"a": 1}\n\ndata: {"error": "no"}\n\n')
    assert await body.read() == [{"a": 1}]
    with pytest.raises(ErrorReply):
        await body.read()
    await body.close()


async def test_peeking_keeps_the_events() -> None:
    body = body_of(b'data: {"a": 1}\n\n', b'data: {"b": 1}\n\n', b'data: {"c": 1}\n\n')
    await body.peek(lambda event: "b" in event)
    assert await body.read() == [{"a": 1}, {"b": 1}]
    assert await body.read() == [{"c": 1}]
    await body.close()
    body = body_of(b'data: {"a": 1}\n\n', b'data: {"error": "no"}\n\n')
    with pytest.raises(ErrorReply):
        await body.peek(lambda event: "b" in event)
    await body.close()


async def test_a_stall() -> None:
    body = body_of(b"data: {}\n\n", idle=0.05, hang=True)
    with pytest.raises(EngineStalled, match=r"silent for 0\.05 s"):
        await read_all(body)


async def test_a_token_gives_more_time_and_a_finish_less(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(anyio, "current_time", lambda: now)
    body = body_of(idle=30)

    def until() -> float:
        return body._until  # pyright: ignore[reportPrivateUsage]

    assert until() == 130
    now = 120.0
    body.on_token()
    assert until() == 150
    body.on_finish(sure=False)
    assert 120 < until() <= 125
    unsure = until()
    body.on_finish(sure=True)
    assert 120 < until() < unsure
    await body.close()


async def test_a_stream_that_breaks_off() -> None:
    for error in (httpx2.ReadError("reset"), httpx2.RemoteProtocolError("closed")):
        with pytest.raises(TruncatedStream, match=r"broke off: (reset|closed)"):
            await read_all(body_of(b"data: {}\n\n", error=error))
    with pytest.raises(EngineStalled):
        await read_all(body_of(error=httpx2.ReadTimeout("")))


async def test_a_stream_without_a_finish_reason_shows_what_else_was_sent() -> None:
    body = body_of(b"data: {}\n\n<html>\n\n<title>502</title>")
    await read_all(body)
    assert "it also sent" not in str(body_of().truncated())
    assert body.truncated().transient
    gc.collect()


async def test_a_body_that_is_too_large() -> None:
    with pytest.raises(EngineError, match="too large"):
        await read_all(body_of(b"{", *[b" " * 2**20] * 20))
