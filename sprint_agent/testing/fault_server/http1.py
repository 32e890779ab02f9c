"""The server's side of HTTP/1.1, on one connection: as much as FaultServer needs, and can break."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import anyio
from anyio.abc import SocketAttribute, SocketStream

JSON = "application/json"
EVENT_STREAM = "text/event-stream"

# "On, and for 0 s": closing then resets the connection. The fields are shorter on Windows.
_RESET_ON_CLOSE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class BadHttp(Exception):
    """What came is not a request that this server can read."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request. The names of `headers` are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def keeps_open(self) -> bool:
        """Whether the client will use the connection again."""
        return self.headers.get("connection", "").lower() != "close"

    def json(self) -> dict[str, Any]:
        """The body, a JSON object. ValueError where it is none."""
        try:
            said: object = json.loads(self.body)
        except RecursionError as error:
            raise ValueError("the body is nested too deeply") from error
        if not isinstance(said, dict):
            raise ValueError("the body is no JSON object")
        return cast("dict[str, Any]", said)


class Connection:
    """A client's connection: requests come in, responses go out, well or badly.

    `number` tells the connections of a server apart.
    """

    def __init__(self, stream: SocketStream, number: int) -> None:
        self.number = number
        self._stream = stream
        self._data = bytearray()

    async def read(self) -> HttpRequest:
        """The next request. EndOfStream where the client has closed, BadHttp for anything else."""
        head = (await self._take_head()).decode("latin-1").split("\r\n")
        try:
            method, target, _ = head[0].split(" ")
            pairs = [line.split(":", 1) for line in head[1:]]
            headers = {name.lower(): value.strip() for name, value in pairs}
            length = int(headers.get("content-length", "0"))
        except ValueError as error:
            raise BadHttp(f"not a request: {head[0]!r}") from error
        if "transfer-encoding" in headers:
            raise BadHttp("send a Content-Length, not a chunked body")
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

    async def left(self) -> bool:
        """Returns when the connection is closed: True where the client did it.

        What the client sends by then is kept for `read`.
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
        most: int | None = None,
    ) -> None:
        """Sends a whole response. With `most`, so many bytes of the body that it announces."""
        given = {"content-type": JSON, "content-length": str(len(body)), **(headers or {})}
        await self._stream.send(_head(status, given) + body[:most])

    async def begin(self) -> None:
        """Sends the head of a stream of events."""
        given = {"content-type": EVENT_STREAM, "transfer-encoding": "chunked"}
        await self._stream.send(_head(200, given))

    async def chunk(self, data: bytes) -> None:
        """Sends a piece of the stream. It must not be empty: an empty one would end the stream."""
        await self._stream.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self) -> None:
        """Ends the stream; the connection goes on."""
        await self._stream.send(b"0\r\n\r\n")

    async def finish(self) -> None:
        """Ends the connection in good order (TCP FIN), whatever a response still owes.

        Returns when the client has closed its side: closing before that would lose what is unsent.
        """
        await self._stream.send_eof()
        await self.left()

    def reset_on_close(self) -> None:
        """From now on, closing the connection resets it (TCP RST)."""
        raw: socket.socket = self._stream.extra(SocketAttribute.raw_socket)
        with contextlib.suppress(OSError):  # it is closed already
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
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {said}" for name, said in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
