"""A small HTTP server on loopback that speaks OpenAI's streams, well or badly, and keeps notes."""

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
from sprint_agent.engines.openai.engine import Mode, OpenAIEngine

ANSWER = "take <p>3+5</p> and 7, then <p>8*7</p> " * 16
PROMPT = "use 3, 5 and 7"
GREEDY = Sampling(max_tokens=24, temperature=0.0)
MODES: tuple[Mode, ...] = ("completions", "chat")

Body = dict[str, Any]


@dataclass
class ReplyWriter:
    """One connection's answer to one request."""

    socket: SocketStream
    drip: bool = False

    async def whole(self, status: int, body: str) -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body.encode())}\r\n\r\n"
        await self.socket.send((head + body).encode())

    async def begin(self) -> None:
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        await self.socket.send((head + "transfer-encoding: chunked\r\n\r\n").encode())

    async def raw(self, data: bytes) -> None:
        for piece in [data[n : n + 1] for n in range(len(data))] if self.drip else [data]:
            await self.socket.send(b"%x\r\n%s\r\n" % (len(piece), piece))

    async def event(self, said: object) -> None:
        text = said if isinstance(said, str) else json.dumps(said)
        await self.raw(f"data: {text}\n\n".encode())

    async def end(self) -> None:
        await self.socket.send(b"0\r\n\r\n")


Behaviour = Callable[["Server", ReplyWriter, Body], Awaitable[None]]


@dataclass
class Server:
    """What the server was told, and how it answers."""

    behaviour: Behaviour
    owner: str = "somebody"
    models: tuple[int, str] | None = None
    """Status and text of the list of models, in place of a good one."""
    drip: bool = False
    url: str = ""
    connections: int = 0
    asked: list[Body] = field(default_factory=list[Body])
    paths: list[str] = field(default_factory=list[str])
    keys: list[str | None] = field(default_factory=list[str | None])
    seen: anyio.Event = field(default_factory=anyio.Event)
    left: anyio.Event = field(default_factory=anyio.Event)
    """The client closed a stream that had not ended."""
    hang_up: Callable[[], Awaitable[None]] | None = None

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
                    await self.answer(ReplyWriter(socket, self.drip), path, body)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass

    async def answer(self, reply: ReplyWriter, path: str, body: bytes) -> None:
        if path == "/v1/models":
            card = {"id": "m", "owned_by": self.owner, "max_model_len": 600}
            good = 200, json.dumps({"data": [{"id": "other"}, card]})
            await reply.whole(*(self.models or good))
            return
        asked = json.loads(body)
        self.paths.append(path)
        self.asked.append(asked)
        self.seen.set()
        try:
            await self.behaviour(self, reply, asked)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            self.left.set()
            raise

    async def hold(self, reply: ReplyWriter) -> None:
        """Says nothing more, until the client has left."""
        await reply.socket.receive()


def chunk(asked: Body, text: str | None, finish: str | None = None, **delta: Any) -> Body:
    """One event of a stream, for the endpoint that was asked."""
    if "messages" in asked:
        choice = {"delta": {"content": text, **delta}, "finish_reason": finish}
    else:
        choice = {"text": text or "", "finish_reason": finish}
    return {"id": "1", "model": "m", "choices": [{"index": 0, **choice}]}


def usage(asked: Body, completion: int) -> Body:
    said = asked.get("prompt") or "".join(message["content"] for message in asked["messages"])
    details = {"cached_tokens": 2}
    counts = {"prompt_tokens": len(said), "completion_tokens": completion}
    return {**counts, "total_tokens": 0, "prompt_tokens_details": details}


def says(
    text: str | Sequence[str],
    finish: str = "stop",
    *,
    hold_at: int | None = None,
    tells_usage: bool = True,
    done: bool = True,
) -> Behaviour:
    """Says `text`, a character (or an item) a token, as the stops and `max_tokens` will have it."""

    async def behave(server: Server, reply: ReplyWriter, asked: Body) -> None:
        options = asked.get("stream_options", {})
        room = asked.get("max_tokens") or asked["max_completion_tokens"]
        stops = asked.get("stop", []) if asked.keys() & {"no_stop_trim", STOP_KEPT} else []
        said, count, reason = "", 0, finish
        await reply.begin()
        await reply.event(chunk(asked, "", role="assistant"))
        for piece in text:
            if count == hold_at:
                await server.hold(reply)
            if count == room:
                reason = "length"
                break
            said, count = said + piece, count + 1
            event = chunk(asked, piece)
            if options.get("continuous_usage_stats"):
                event["usage"] = usage(asked, count)
            await reply.event(event)
            if any(stop in said for stop in stops):
                reason = "stop"
                break
        await reply.event(chunk(asked, None, reason))
        if options.get("include_usage") and tells_usage:
            await reply.event({"choices": [], "usage": usage(asked, count)})
        if done:
            await reply.event("[DONE]")
        await reply.end()

    return behave


STOP_KEPT = "include_stop_str_in_output"


def events(*said: object) -> Behaviour:
    """Streams the given events, whatever was asked. A function is called with the body."""

    async def behave(server: Server, reply: ReplyWriter, asked: Body) -> None:
        await reply.begin()
        for one in said:
            await reply.event(one(asked) if callable(one) else one)
        await reply.end()

    return behave


def status(code: int, text: str, **headers: str) -> Behaviour:
    async def behave(server: Server, reply: ReplyWriter, asked: Body) -> None:
        extra = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
        head = f"HTTP/1.1 {code} X\r\n{extra}content-length: {len(text.encode())}\r\n\r\n"
        await reply.socket.send((head + text).encode())

    return behave


def refuses(refusal: Callable[[Body], object | None], then: Behaviour) -> Behaviour:
    """Answers 400 with what `refusal` says of a body, or as `then` where it says nothing."""

    async def behave(server: Server, reply: ReplyWriter, asked: Body) -> None:
        error = refusal(asked)
        if error is None:
            await then(server, reply, asked)
        else:
            await reply.whole(400, json.dumps({"error": error}))

    return behave


async def silent(server: Server, reply: ReplyWriter, asked: Body) -> None:
    await server.hold(reply)


async def silent_after_begin(server: Server, reply: ReplyWriter, asked: Body) -> None:
    await reply.begin()
    await reply.event(chunk(asked, "A"))
    await server.hold(reply)


async def breaks_off(server: Server, reply: ReplyWriter, asked: Body) -> None:
    await reply.begin()
    await reply.event(chunk(asked, "A"))
    await reply.socket.aclose()


async def breaks_off_behind(server: Server, reply: ReplyWriter, asked: Body) -> None:
    await reply.begin()
    await reply.event(chunk(asked, "A"))
    await reply.event(chunk(asked, None, "stop"))
    await reply.socket.aclose()


async def dies(server: Server, reply: ReplyWriter, asked: Body) -> None:
    assert server.hang_up is not None
    await server.hang_up()
    await breaks_off(server, reply, asked)


@asynccontextmanager
async def serving(behaviour: Behaviour, **facts: Any) -> AsyncIterator[Server]:
    server = Server(behaviour, **facts)
    (listener,) = (await anyio.create_tcp_listener(local_host="127.0.0.1")).listeners
    host, port = listener.extra(SocketAttribute.local_address)[:2]
    server.hang_up = listener.aclose
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
