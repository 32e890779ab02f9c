"""Requests of tests to a FaultServer, and the responses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
from anyio.abc import SocketStream

from sprint_agent.engines.sse import SseDecoder
from sprint_agent.testing import FaultServer

Json = dict[str, Any]


@asynccontextmanager
async def connected(server: FaultServer) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with the server's address."""
    # Nothing on loopback takes that long: a test that waits for it has failed.
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as client:
        yield client


def generate_body(text: str = "Q", rid: str = "r" * 32, **fields: Any) -> Json:
    """Returns a body for `/generate`."""
    sampling = fields.pop("sampling_params", {})
    return {"rid": rid, "input_ids": [ord(one) for one in text], "sampling_params": sampling} | {
        "stream": True,
        **fields,
    }


async def read_events(response: httpx2.Response, into: list[str] | None = None) -> list[str]:
    """Returns the data of a stream's events. If it breaks off, `into` contains those before."""
    events = [] if into is None else into
    decoder = SseDecoder()
    async for data in response.aiter_bytes():
        events += decoder.feed(data)
    return events


async def streamed(
    client: httpx2.AsyncClient, path: str, body: Json, into: list[str] | None = None
) -> list[str]:
    """Sends a request and returns the data of the events that answer it."""
    async with client.stream("POST", path, json=body) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"] == "text/event-stream"
        return await read_events(response, into)


def objects(events: Sequence[str]) -> list[Json]:
    """Returns the events of a stream that ends with `[DONE]`, without that end."""
    assert events[-1] == "[DONE]"
    return [json.loads(event) for event in events[:-1]]


def texts(events: Sequence[str]) -> list[str]:
    """Returns the texts of SGLang's events, however the stream ended."""
    return [json.loads(event)["text"] for event in events if event != "[DONE]"]


@asynccontextmanager
async def raw_connection(server: FaultServer) -> AsyncIterator[SocketStream]:
    """A TCP connection without an HTTP client."""
    port = int(server.url.rpartition(":")[2])
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        yield stream


async def post(stream: SocketStream, body: object, path: str = "/generate") -> None:
    """Sends a request on a TCP connection, and announces that it is the last one."""
    data = json.dumps(body).encode()
    await stream.send(b"POST %s HTTP/1.1\r\nConnection: close\r\n" % path.encode())
    await stream.send(b"content-length: %d\r\n\r\n%s" % (len(data), data))


async def read_to_end(stream: SocketStream) -> tuple[bytes, type[Exception]]:
    """Returns all data, and how it ends: EndOfStream for a FIN, BrokenResourceError for a RST."""
    data = b""
    try:
        while True:
            data += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
        return data, type(error)


async def wait_for_events(events: list[str], count: int) -> None:
    """Waits until there are `count` events."""
    with anyio.fail_after(30):
        while len(events) < count:
            await anyio.lowlevel.checkpoint()
