"""A small HTTP server on loopback that streams as OpenAI's API does, correctly or with faults.

It records what it received.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream

from sprint_agent.engine import Delta, Finish, Request, Sampling
from sprint_agent.engines import OpenAIEngine
from sprint_agent.engines.openai.server import Mode

ANSWER = "take <p>3+5</p> and 7, then <p>8*7</p> " * 16
PROMPT = "use 3, 5 and 7"
GREEDY = Sampling(max_tokens=24, temperature=0.0)
MODES: tuple[Mode, ...] = ("completions", "chat")
STOP_KEPT = "include_stop_str_in_output"
"""vLLM's parameter that keeps a stop in the text."""

Body = dict[str, Any]


@dataclass
class ResponseWriter:
    """Writes the response to one request."""

    socket: SocketStream
    drip: bool = False
    """Sends each byte of a stream in a separate chunk."""

    async def send_response(self, status: int, body: str) -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body.encode())}\r\n\r\n"
        await self.socket.send((head + body).encode())

    async def start_stream(self) -> None:
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        await self.socket.send((head + "transfer-encoding: chunked\r\n\r\n").encode())

    async def send_chunk(self, data: bytes) -> None:
        for piece in [data[n : n + 1] for n in range(len(data))] if self.drip else [data]:
            await self.socket.send(b"%x\r\n%s\r\n" % (len(piece), piece))

    async def send_event(self, event: object) -> None:
        text = event if isinstance(event, str) else json.dumps(event)
        await self.send_chunk(f"data: {text}\n\n".encode())

    async def end_stream(self) -> None:
        await self.socket.send(b"0\r\n\r\n")


Behaviour = Callable[["Server", ResponseWriter, Body], Awaitable[None]]
"""Responds to a request, whose body is the third argument."""


@dataclass
class Server:
    """How the server responds, and what it received."""

    behaviour: Behaviour
    owner: str = "somebody"
    models: tuple[int, str] | None = None
    """Status and text of the response to a request for the models. None for a correct one."""
    drip: bool = False
    url: str = ""
    connections: int = 0
    requests: list[Body] = field(default_factory=list[Body])
    paths: list[str] = field(default_factory=list[str])
    keys: list[str | None] = field(default_factory=list[str | None])
    received: anyio.Event = field(default_factory=anyio.Event)
    disconnected: anyio.Event = field(default_factory=anyio.Event)
    """The client closed a stream that had not ended."""
    stop_listening: Callable[[], Awaitable[None]] | None = None

    def engine(self, mode: Mode = "completions", idle_seconds: float = 60.0) -> OpenAIEngine:
        return OpenAIEngine(self.url, model="m", mode=mode, idle_seconds=idle_seconds)

    async def serve(self, socket: SocketStream) -> None:
        self.connections += 1
        data = b""
        async with socket:
            try:
                while True:
                    while b"\r\n\r\n" not in data:
                        data += await socket.receive()
                    head, _, data = data.partition(b"\r\n\r\n")
                    lines = head.decode().split("\r\n")
                    headers = {k.lower(): v for k, _, v in (x.partition(": ") for x in lines[1:])}
                    length = int(headers.get("content-length", "0"))
                    while len(data) < length:
                        data += await socket.receive()
                    body, data = data[:length], data[length:]
                    path = lines[0].split(" ")[1]
                    self.keys.append(headers.get("authorization"))
                    await self.respond(ResponseWriter(socket, self.drip), path, body)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass

    async def respond(self, response: ResponseWriter, path: str, data: bytes) -> None:
        if path == "/v1/models":
            card = {"id": "m", "owned_by": self.owner, "max_model_len": 600}
            correct = 200, json.dumps({"data": [{"id": "other"}, card]})
            await response.send_response(*(self.models or correct))
            return
        body = json.loads(data)
        self.paths.append(path)
        self.requests.append(body)
        self.received.set()
        try:
            await self.behaviour(self, response, body)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            self.disconnected.set()
            raise

    async def wait_for_disconnect(self, response: ResponseWriter) -> None:
        """Sends nothing more until the client has closed the connection."""
        await response.socket.receive()


def chunk(body: Body, text: str | None, finish: str | None = None, **delta: Any) -> Body:
    """Returns one event of a stream, for the endpoint that a request with `body` was sent to."""
    if "messages" in body:
        choice = {"delta": {"content": text, **delta}, "finish_reason": finish}
    else:
        choice = {"text": text or "", "finish_reason": finish}
    return {"id": "1", "model": "m", "choices": [{"index": 0, **choice}]}


def usage(body: Body, completion: int) -> Body:
    prompt = body.get("prompt") or "".join(message["content"] for message in body["messages"])
    details = {"cached_tokens": 2}
    counts = {"prompt_tokens": len(prompt), "completion_tokens": completion}
    return {**counts, "total_tokens": 0, "prompt_tokens_details": details}


def generates(
    text: str | Sequence[str],
    finish: str = "stop",
    *,
    stall_at: int | None = None,
    reports_usage: bool = True,
    done: bool = True,
) -> Behaviour:
    """Streams `text`, one character (or item) for each token, up to a stop or `max_tokens`.

    With `stall_at`, it sends nothing after this number of tokens.
    """

    async def behave(server: Server, response: ResponseWriter, body: Body) -> None:
        options = body.get("stream_options", {})
        max_tokens = body.get("max_tokens") or body["max_completion_tokens"]
        stops = body.get("stop", []) if body.keys() & {"no_stop_trim", STOP_KEPT} else []
        sent, count, reason = "", 0, finish
        await response.start_stream()
        await response.send_event(chunk(body, "", role="assistant"))
        for piece in text:
            if count == stall_at:
                await server.wait_for_disconnect(response)
            if count == max_tokens:
                reason = "length"
                break
            sent, count = sent + piece, count + 1
            event = chunk(body, piece)
            if options.get("continuous_usage_stats"):
                event["usage"] = usage(body, count)
            await response.send_event(event)
            if any(stop in sent for stop in stops):
                reason = "stop"
                break
        await response.send_event(chunk(body, None, reason))
        if options.get("include_usage") and reports_usage:
            await response.send_event({"choices": [], "usage": usage(body, count)})
        if done:
            await response.send_event("[DONE]")
        await response.end_stream()

    return behave


def events(*given: object) -> Behaviour:
    """Streams the given events for any request. A function is called with the request's body."""

    async def behave(server: Server, response: ResponseWriter, body: Body) -> None:
        await response.start_stream()
        for event in given:
            await response.send_event(event(body) if callable(event) else event)
        await response.end_stream()

    return behave


def status(code: int, text: str, **headers: str) -> Behaviour:
    async def behave(server: Server, response: ResponseWriter, body: Body) -> None:
        extra = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
        head = f"HTTP/1.1 {code} X\r\n{extra}content-length: {len(text.encode())}\r\n\r\n"
        await response.socket.send((head + text).encode())

    return behave


def refuses(refusal: Callable[[Body], object | None], otherwise: Behaviour) -> Behaviour:
    """Responds 400 with the error that `refusal` returns for a body. None means `otherwise`."""

    async def behave(server: Server, response: ResponseWriter, body: Body) -> None:
        error = refusal(body)
        if error is None:
            await otherwise(server, response, body)
        else:
            await response.send_response(400, json.dumps({"error": error}))

    return behave


async def silent(server: Server, response: ResponseWriter, body: Body) -> None:
    await server.wait_for_disconnect(response)


async def silent_after_begin(server: Server, response: ResponseWriter, body: Body) -> None:
    await response.start_stream()
    await response.send_event(chunk(body, "A"))
    await server.wait_for_disconnect(response)


async def breaks_off(server: Server, response: ResponseWriter, body: Body) -> None:
    await response.start_stream()
    await response.send_event(chunk(body, "A"))
    await response.socket.aclose()


async def breaks_off_after_finish(server: Server, response: ResponseWriter, body: Body) -> None:
    await response.start_stream()
    await response.send_event(chunk(body, "A"))
    await response.send_event(chunk(body, None, "stop"))
    await response.socket.aclose()


async def crashes(server: Server, response: ResponseWriter, body: Body) -> None:
    assert server.stop_listening is not None
    await server.stop_listening()
    await breaks_off(server, response, body)


@asynccontextmanager
async def serving(behaviour: Behaviour, **settings: Any) -> AsyncIterator[Server]:
    server = Server(behaviour, **settings)
    (listener,) = (await anyio.create_tcp_listener(local_host="127.0.0.1")).listeners
    host, port = listener.extra(SocketAttribute.local_address)[:2]
    server.stop_listening = listener.aclose
    server.url = f"http://{host}:{port}/v1"

    async def accept() -> None:
        with contextlib.suppress(anyio.ClosedResourceError):
            await listener.serve(server.serve, group)

    with anyio.fail_after(60):
        async with listener, anyio.create_task_group() as group:
            group.start_soon(accept)
            yield server
            group.cancel_scope.cancel()


async def read(engine: OpenAIEngine, request: Request) -> tuple[str, list[Delta], Finish]:
    deltas: list[Delta] = []
    finish = None
    async with engine.generate(request) as stream:
        async for event in stream:
            assert finish is None
            if isinstance(event, Delta):
                assert event.ids == ()
                deltas.append(event)
            else:
                finish = event
    assert finish is not None
    return "".join(delta.text for delta in deltas), deltas, finish
