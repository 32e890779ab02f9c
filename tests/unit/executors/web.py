"""A small web server on loopback for tests of HTTP clients: one request a connection."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream


@dataclass
class ReceivedRequest:
    """One request, and the means to answer it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    socket: SocketStream

    async def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Sends a whole response. In header names, an underscore becomes a hyphen."""
        fields = {"content_length": str(len(body)), **headers}
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        head = "\r\n".join([f"HTTP/1.1 {status} X", *lines, "connection: close", "", ""])
        await self.socket.send(head.encode() + body)

    async def disconnected(self) -> None:
        """Returns when the client has closed the connection."""
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await self.socket.receive()


@dataclass
class Web:
    """The address of the server, and the requests that it received."""

    host: str
    requests: list[ReceivedRequest] = field(default_factory=list[ReceivedRequest])

    @property
    def url(self) -> str:
        return f"http://{self.host}"


@asynccontextmanager
async def serving(answer: Callable[[ReceivedRequest], Awaitable[None]]) -> AsyncGenerator[Web]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    web = Web(f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}")

    async def serve(socket: SocketStream) -> None:
        async with socket:
            request = await _read(socket)
            web.requests.append(request)
            # The client may close the connection before the response is complete.
            with contextlib.suppress(anyio.BrokenResourceError):
                await answer(request)

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield web
        group.cancel_scope.cancel()


async def _read(socket: SocketStream) -> ReceivedRequest:
    stream = BufferedByteReceiveStream(socket)
    head = (await stream.receive_until(b"\r\n\r\n", 100_000)).decode()
    request, *lines = head.split("\r\n")
    method, target, _ = request.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await stream.receive_exactly(int(headers.get("content-length", "0")))
    return ReceivedRequest(method, target, headers, body, socket)
