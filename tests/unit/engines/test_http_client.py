"""The HTTP client of the engines for servers: closed connections, closing a stream, and errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import pytest

pytest.importorskip("httpx2")

import anyio.lowlevel
import httpx2

from sprint_agent.engines.http_client import (
    as_object,
    close_stream,
    connection_error,
    error_code,
    error_message,
    open_client,
    read_error,
    read_object,
    status_error,
)
from sprint_agent.errors import EngineError, EngineUnavailable, RequestRefused

pytestmark = pytest.mark.anyio
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class ClosingServer:
    """A server that answers `answers` requests on a connection and closes it at the next one."""

    def __init__(self, answers: int) -> None:
        self.answers = answers
        self.connections = 0
        self.requests = 0

    async def __call__(self, stream: anyio.abc.SocketStream) -> None:
        self.connections += 1
        async with stream:
            for number in range(self.answers + 1):
                await self._read(stream)
                self.requests += 1
                if number < self.answers:
                    await stream.send(ANSWER)

    async def _read(self, stream: anyio.abc.SocketStream) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await stream.receive()


@asynccontextmanager
async def serving(server: ClosingServer) -> AsyncIterator[str]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server)
        yield f"http://127.0.0.1:{port}"
        group.cancel_scope.cancel()


async def test_a_request_on_a_closed_connection_is_sent_again() -> None:
    server = ClosingServer(answers=2)
    async with serving(server) as url, open_client(url, 5.0) as client:
        for _ in range(5):
            assert (await client.get("/")).text == "ok"
    assert server.connections == 3
    assert server.requests == 7


async def test_a_new_connection_without_an_answer_is_an_error() -> None:
    server = ClosingServer(answers=0)
    async with serving(server) as url, open_client(url, 5.0) as client:
        with pytest.raises(httpx2.RemoteProtocolError, match="without sending a response"):
            await client.get("/")
    assert server.requests == 1


def test_an_invalid_address() -> None:
    with pytest.raises(EngineUnavailable, match="'http://h:port' is not an address"):
        open_client("http://h:port", 5.0)


async def test_the_steps_of_closing_a_stream_run_after_a_cancellation() -> None:
    done: list[str] = []

    async def fail() -> None:
        await anyio.lowlevel.checkpoint()
        done.append("fail")
        raise httpx2.ReadError("reset")

    async def close() -> None:
        await anyio.lowlevel.checkpoint()
        done.append("close")

    with anyio.CancelScope() as scope:
        scope.cancel()
        await close_stream(fail, close)
    assert done == ["fail", "close"]


@pytest.mark.parametrize(
    ("error", "message", "transient"),
    [
        (httpx2.ConnectError("no"), "no server answers at http://h", True),
        (httpx2.ConnectTimeout("no"), "no server answers at http://h", True),
        (httpx2.ReadTimeout("no"), "the server at http://h was silent for 5 s", False),
        (httpx2.ReadError("no"), "cannot talk to the server at http://h: no", True),
        (httpx2.RemoteProtocolError("no"), "cannot talk to the server at http://h: no", True),
        (httpx2.UnsupportedProtocol("no"), "cannot talk to the server at http://h: no", False),
    ],
)
def test_connection_errors(error: Exception, message: str, transient: bool) -> None:
    result = connection_error("http://h", error, 5.0)
    assert str(result).startswith(message)
    assert result.transient is transient


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (400, RequestRefused, "the server at http://h refused the request: no"),
        (429, EngineUnavailable, "the server at http://h is too busy (429): no"),
        (500, EngineUnavailable, "the server at http://h failed (500): no"),
        (307, EngineError, "the server at http://h aborted the request: no"),
        (None, EngineError, "the server at http://h aborted the request: no"),
    ],
)
def test_status_errors(status: object, kind: type[EngineError], message: str) -> None:
    error = status_error("http://h", status, {"error": {"message": "no"}}, {"retry-after": "7"})
    assert (type(error), str(error)) == (kind, message)
    assert error.retry_after == (7.0 if kind is EngineUnavailable else None)


def test_the_message_of_an_error_is_one_short_line() -> None:
    assert error_message({"error": {"message": "a\n b"}}) == "a b"
    assert error_message({"detail": "a"}) == "a"
    assert error_message("a") == "a"
    assert error_message("") == "it gave no reason"
    assert len(error_message("a" * 1000)) == 300


def test_json_objects() -> None:
    assert read_object('{"a": 1}') == {"a": 1}
    for text in ("[1]", "{", "[" * 100_000):
        with pytest.raises(ValueError, match=r"."):
            read_object(text)
    with pytest.raises(ValueError, match="not a JSON object"):
        as_object([])
    assert read_error('{"a": 1}') == {"a": 1}
    assert read_error("plain") == "plain"


def test_the_status_inside_an_event() -> None:
    assert error_code({"error": {"code": 503}}) == 503
    assert error_code({"code": 400}) == 400
    assert error_code({"error": "no"}) is None
