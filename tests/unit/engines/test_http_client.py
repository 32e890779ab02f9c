"""The HTTP client of the engines for servers: closed connections, closing a stream, and errors."""

from __future__ import annotations

import socket
import struct
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
    open_client,
    read_error,
    read_object,
)
from sprint_agent.errors import EngineStalled, EngineUnavailable

pytestmark = pytest.mark.anyio
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class ClosingServer:
    """A server that answers `answers` requests on a connection and closes it at the next one.

    With `reset`, it resets the connection then.
    """

    def __init__(self, answers: int, *, reset: bool = False) -> None:
        self.answers = answers
        self.reset = reset
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
            if self.reset:
                raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

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


async def test_a_request_that_a_server_has_read_is_not_sent_again_after_a_reset() -> None:
    server = ClosingServer(answers=1, reset=True)
    async with serving(server) as url, open_client(url, 5.0) as client:
        await client.get("/")
        with pytest.raises((httpx2.ReadError, httpx2.WriteError)):
            await client.get("/")
    assert server.requests == 2


async def test_a_request_that_could_not_be_written_is_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[int] = []

    async def send(
        self: httpx2.AsyncClient, request: httpx2.Request, **settings: object
    ) -> httpx2.Response:
        sent.append(1)
        if len(sent) > 1:
            return httpx2.Response(200, text="ok", request=request)
        await request.extensions["trace"]("http11.send_request_body.failed", None)
        raise httpx2.ReadError("reset")

    monkeypatch.setattr(httpx2.AsyncClient, "send", send)
    async with open_client("http://127.0.0.1:1", 5.0) as client:
        assert (await client.get("/")).text == "ok"
    assert len(sent) == 2


async def test_of_several_closed_connections_each_is_tried() -> None:
    server = ClosingServer(answers=1)
    async with serving(server) as url, open_client(url, 5.0) as client:
        async with client.stream("GET", "/") as first, client.stream("GET", "/") as second:
            await first.aread()
            await second.aread()
        assert server.connections == 2
        assert (await client.get("/")).text == "ok"
    assert (server.connections, server.requests) == (3, 5)


async def test_a_new_connection_without_an_answer_is_an_error() -> None:
    server = ClosingServer(answers=0)
    async with serving(server) as url, open_client(url, 5.0) as client:
        with pytest.raises(httpx2.RemoteProtocolError, match="without sending a response"):
            await client.get("/")
    assert server.requests == 1


def test_an_invalid_address() -> None:
    with pytest.raises(EngineUnavailable, match="'http://h:port' is not an address"):
        open_client("http://h:port", 5.0)


@pytest.mark.parametrize("error", [httpx2.ReadError("reset"), RuntimeError("closed"), OSError()])
async def test_the_steps_of_closing_a_stream_run_after_a_cancellation(error: Exception) -> None:
    done: list[str] = []

    async def fail() -> None:
        await anyio.lowlevel.checkpoint()
        done.append("fail")
        raise error

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
        (httpx2.ReadError(""), "cannot talk to the server at http://h: ReadError", True),
        (RuntimeError(" "), "cannot talk to the server at http://h: RuntimeError", False),
    ],
)
def test_connection_errors(error: Exception, message: str, transient: bool) -> None:
    result = connection_error("http://h", error, 5.0)
    assert str(result).startswith(message)
    assert result.transient is transient
    assert isinstance(result, EngineStalled) is isinstance(error, httpx2.ReadTimeout)


def test_json_objects() -> None:
    assert read_object('{"a": 1}') == {"a": 1}
    for text in ("[1]", "{", "[" * 100_000):
        with pytest.raises(ValueError, match=r"."):
            read_object(text)
    with pytest.raises(ValueError, match="not a JSON object"):
        as_object([])
    assert read_error('{"a": 1}') == {"a": 1}
    assert read_error("[1]") == [1]
    assert read_error("plain") == "plain"
