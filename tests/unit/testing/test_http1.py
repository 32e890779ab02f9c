"""The server side of HTTP/1.1 and its port: requests, responses, resets and restarts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio.abc import SocketStream

from sprint_agent.testing.fault_server.http1 import BadHttp, Connection
from sprint_agent.testing.fault_server.loopback import Loopback
from tests.unit.testing.http_client import read_to_end

pytestmark = pytest.mark.anyio
POST = b"POST /path?x=1 HTTP/1.1\r\nX-Name: value\r\ncontent-length: 2\r\n\r\n{}"


async def exchange(
    serve_one: Callable[[Connection], Awaitable[bool]], data: bytes
) -> tuple[bytes, type[Exception]]:
    """Sends `data` on a connection, and returns what comes back and how it ends."""
    async with Loopback(serve_one) as loopback, await dial(loopback) as stream:
        await stream.send(data)
        return await read_to_end(stream)


async def dial(loopback: Loopback) -> SocketStream:
    return await anyio.connect_tcp("127.0.0.1", int(loopback.url.rpartition(":")[2]))


async def test_a_request_is_read_and_answered() -> None:
    async def serve_one(connection: Connection) -> bool:
        request = await connection.read()
        assert (request.method, request.path, request.json()) == ("POST", "/path", {})
        assert (request.headers["x-name"], request.keeps_open) == ("value", True)
        await connection.respond(404, b"no", {"retry-after": "1"})
        return False

    data, end = await exchange(serve_one, POST)
    assert data.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert data.endswith(b"retry-after: 1\r\n\r\nno")
    assert end is anyio.EndOfStream


async def test_a_connection_serves_several_requests() -> None:
    paths: list[str] = []

    async def serve_one(connection: Connection) -> bool:
        paths.append((await connection.read()).path)
        return len(paths) < 2

    await exchange(serve_one, POST + POST.replace(b"/path", b"/next"))
    assert paths == ["/path", "/next"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"hello\r\n\r\n", "not an HTTP request: 'hello'"),
        (b"GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n", "not an HTTP request"),
        (b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", "send a Content-Length"),
    ],
)
async def test_other_data_is_refused(data: bytes, problem: str) -> None:
    async def serve_one(connection: Connection) -> bool:
        with pytest.raises(BadHttp, match=problem):
            await connection.read()
        return False

    await exchange(serve_one, data)


async def test_a_response_may_be_incomplete_or_reset() -> None:
    async def incomplete(connection: Connection) -> bool:
        await connection.respond(200, b"hello", sent=2)
        return False

    async def reset(connection: Connection) -> bool:
        await connection.read()
        await connection.reset()
        return False

    data, _ = await exchange(incomplete, POST)
    assert b"content-length: 5\r\n" in data
    assert data.endswith(b"\r\n\r\nhe")
    assert await exchange(reset, POST) == (b"", anyio.BrokenResourceError)


async def test_a_port_crashes_and_restarts_at_the_same_address() -> None:
    async def serve_one(connection: Connection) -> bool:
        return not await connection.closed_by_client()

    async with Loopback(serve_one) as loopback:
        url = loopback.url
        async with await dial(loopback) as stream:
            # A byte that arrives shows that the connection was accepted before the crash.
            await stream.send(b"x")
            await anyio.wait_all_tasks_blocked()
            await loopback.crash()
            assert (await read_to_end(stream))[1] is anyio.BrokenResourceError
        with pytest.raises(OSError, match="onnect"):
            await dial(loopback)
        await loopback.restart()
        assert loopback.url == url
        async with await dial(loopback):
            pass
