"""The server side of HTTP/1.1 on one connection: what FaultServer needs and can break."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

import anyio
from anyio.abc import SocketAttribute, SocketStream

JSON = "application/json"
EVENT_STREAM = "text/event-stream"

# SO_LINGER on, with 0 s: closing then resets the connection. The fields are shorter on Windows.
_RESET_ON_CLOSE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class BadHttp(Exception):
    """The client did not send a request that this server can read."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    """The headers. Their names are in lower case."""
    body: bytes

    @property
    def keeps_open(self) -> bool:
        """Whether the client may use the connection again."""
        return self.headers.get("connection", "").lower() != "close"

    def json(self) -> dict[str, object]:
        """Returns the body as a JSON object.

        Raises:
            ValueError: the body is not a JSON object.
        """
        try:
            value: object = json.loads(self.body)
        except RecursionError as error:
            raise ValueError("the body is nested too deeply") from error
        if not isinstance(value, dict):
            raise ValueError("the body is not a JSON object")
        return cast("dict[str, object]", value)


class Connection:
    """A connection of a client: reads requests and sends responses, correct or broken ones."""

    def __init__(self, stream: SocketStream, number: int) -> None:
        self.number = number
        """Tells the connections of a server apart."""
        self._stream = stream
        self._data = bytearray()

    async def read(self) -> HttpRequest:
        """Returns the next request.

        Raises:
            anyio.EndOfStream: the client closed the connection.
            BadHttp: the client sent something else.
        """
        head = (await self._take_head()).decode("latin-1").split("\r\n")
        try:
            method, target, _ = head[0].split(" ")
            pairs = [line.split(":", 1) for line in head[1:]]
            headers = {name.lower(): value.strip() for name, value in pairs}
            length = int(headers.get("content-length", "0"))
        except ValueError as error:
            raise BadHttp(f"this is not an HTTP request: {head[0]!r}") from error
        if "transfer-encoding" in headers:
            raise BadHttp("a chunked body is not supported: send a Content-Length")
        while len(self._data) < length:
            self._data += await self._stream.receive()
        body = bytes(self._data[:length])
        del self._data[:length]
        return HttpRequest(method, target.partition("?")[0], headers, body)

    async def _take_head(self) -> bytes:
        while (end := self._data.find(b"\r\n\r\n")) < 0:
            self._data += await self._stream.receive()
        head = bytes(self._data[:end])
        del self._data[: end + 4]
        return head

    async def closed_by_client(self) -> bool:
        """Waits until the connection is closed, and returns whether the client closed it.

        What the client sends before that is kept for `read`.
        """
        try:
            while True:
                self._data += await self._stream.receive()
        except anyio.ClosedResourceError:
            return False
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return True

    async def respond(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        sent: int | None = None,
    ) -> None:
        """Sends a complete response. With `sent`, only that many bytes of the announced body."""
        fields = {"content-type": JSON, "content-length": str(len(body)), **(headers or {})}
        await self._stream.send(_head(status, fields) + body[:sent])

    async def begin(self) -> None:
        """Sends the head of a stream of events."""
        fields = {"content-type": EVENT_STREAM, "transfer-encoding": "chunked"}
        await self._stream.send(_head(200, fields))

    async def chunk(self, data: bytes) -> None:
        """Sends a piece of the stream. It must not be empty, which would end the stream."""
        await self._stream.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self) -> None:
        """Ends the stream. The connection stays open."""
        await self._stream.send(b"0\r\n\r\n")

    async def finish(self) -> None:
        """Closes the connection normally (TCP FIN), even in the middle of a response.

        Waits until the client has closed its side: closing earlier would lose unsent data.
        """
        await self._stream.send_eof()
        await self.closed_by_client()

    def reset_on_close(self) -> None:
        """Makes closing the connection reset it (TCP RST)."""
        raw: socket.socket = self._stream.extra(SocketAttribute.raw_socket)
        with contextlib.suppress(OSError):  # already closed
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    async def reset(self) -> None:
        """Resets the connection (TCP RST)."""
        self.reset_on_close()
        await self._stream.aclose()


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
