"""The HTTP client of the engines for servers: closed connections, closing a stream, and errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import pytest

pytest.importorskip("httpx2")

import httpx2

from sprint_agent.engines.http_client import open_client

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
