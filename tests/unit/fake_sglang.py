"""A small HTTP server on loopback that speaks SGLang's stream, well or badly, and keeps notes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream

from sprint_agent.engines.base import Delta, Finish, Request, Sampling
from sprint_agent.engines.sglang import SGLangEngine

ANSWER = "take <p>3+5</p> and 7, then <p>8*7</p> " * 16
CONTEXT = 600
END_ID = 3
PROMPT = tuple(b"use 3, 5 and 7")
GREEDY = Sampling(max_tokens=24, temperature=0.0)


class CharTokenizer:
    """An id for each ASCII character."""

    vocab_size = 128

    def encode(self, text: str) -> list[int]:
        return list(text.encode("ascii"))

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode("ascii")


@dataclass
class Reply:
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


Behaviour = Callable[["Server", Reply, dict[str, Any]], Awaitable[None]]


@dataclass
class Server:
    """What the server was told, and how it answers."""

    behaviour: Behaviour
    url: str = ""
    model: dict[str, Any] = field(default_factory=lambda: {"model_path": "/nowhere/model"})
    state: dict[str, Any] = field(
        default_factory=lambda: {"context_length": None, "max_req_input_len": CONTEXT}
    )
    old: bool = False
    drip: bool = False
    deaf: bool = False
    """Whether it leaves aborts unanswered."""
    connections: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    aborted: list[str] = field(default_factory=list[str])
    ended: dict[str, anyio.Event] = field(default_factory=dict[str, anyio.Event])
    seen: anyio.Event = field(default_factory=anyio.Event)
    hang_up: Callable[[], Awaitable[None]] | None = None
    """Makes it refuse every further connection."""

    def engine(self) -> SGLangEngine:
        return SGLangEngine(self.url, tokenizer=CharTokenizer())

    async def serve(self, socket: SocketStream) -> None:
        self.connections += 1
        data = b""
        async with socket:
            try:
                while True:
                    while b"\r\n\r\n" not in data:
                        data += await socket.receive()
                    head, _, data = data.partition(b"\r\n\r\n")
                    names = dict(x.lower().split(b": ") for x in head.split(b"\r\n")[1:])
                    length = int(names.get(b"content-length", b"0"))
                    while len(data) < length:
                        data += await socket.receive()
                    body, data = data[:length], data[length:]
                    path = head.split(b" ")[1].decode()
                    await self.answer(Reply(socket, self.drip), path, body)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass

    async def answer(self, reply: Reply, path: str, body: bytes) -> None:
        prefix = "/get_" if self.old else "/"
        infos = {f"{prefix}model_info": self.model, f"{prefix}server_info": self.state}
        if path in infos:
            await reply.whole(200, json.dumps(infos[path]))
        elif path == "/generate":
            asked = json.loads(body)
            self.asked.append(asked)
            self.ended[asked["rid"]] = anyio.Event()
            self.seen.set()
            await self.behaviour(self, reply, asked)
        elif path == "/abort_request":
            rid = json.loads(body)["rid"]
            self.aborted.append(rid)
            self.ended[rid].set()
            if self.deaf:
                await anyio.sleep_forever()
            await reply.whole(200, "")
        else:
            await reply.whole(404, '{"detail": "Not Found"}')


def chunk(body: dict[str, Any], ids: list[int], finish: object = None) -> dict[str, Any]:
    meta = {"id": body["rid"], "finish_reason": finish, "prompt_tokens": len(body["input_ids"])}
    meta |= {"completion_tokens": len(ids), "cached_tokens": 5}
    return {"text": bytes(ids).decode("ascii"), "output_ids": ids, "meta_info": meta}


def finish_of(text: str, parameters: dict[str, Any]) -> dict[str, Any] | None:
    """Why SGLang would end after this text."""
    matched = [stop for stop in parameters["stop"] if stop in text]
    if matched:
        return {"type": "stop", "matched": matched[0]}
    if text.endswith(chr(END_ID)):
        return {"type": "stop", "matched": END_ID}
    if len(text) >= parameters["max_new_tokens"]:
        return {"type": "length", "length": len(text)}
    return None


def says(
    answer: str, *, finishes: bool = True, hold_at: int | None = None, incremental: bool = False
) -> Behaviour:
    """Streams a text as SGLang does; at `hold_at` characters it waits to be aborted."""

    async def behave(server: Server, reply: Reply, body: dict[str, Any]) -> None:
        await reply.begin()
        for count in range(1, len(answer) + 1):
            if count - 1 == hold_at:
                await server.ended[body["rid"]].wait()
                await reply.socket.aclose()
                return
            text = answer[:count]
            finish = finish_of(text, body["sampling_params"]) if finishes else None
            event = chunk(body, list(text.encode("ascii")), finish)
            if incremental:
                event["output_ids"] = event["output_ids"][-1:]
            await reply.event(event)
            if finish is not None:
                break
        await reply.event("[DONE]")
        await reply.end()

    return behave


def events(*said: object) -> Behaviour:
    """Streams the given events, whatever was asked. A function is called with the body."""

    async def behave(server: Server, reply: Reply, body: dict[str, Any]) -> None:
        await reply.begin()
        for one in said:
            await reply.event(one(body) if callable(one) else one)
        await reply.end()

    return behave


def status(code: int, text: str) -> Behaviour:
    async def behave(server: Server, reply: Reply, body: dict[str, Any]) -> None:
        await reply.whole(code, text)

    return behave


async def silent(server: Server, reply: Reply, body: dict[str, Any]) -> None:
    await server.ended[body["rid"]].wait()


async def silent_after_begin(server: Server, reply: Reply, body: dict[str, Any]) -> None:
    await reply.begin()
    await reply.event(chunk(body, [65]))
    await server.ended[body["rid"]].wait()


async def breaks_off(server: Server, reply: Reply, body: dict[str, Any]) -> None:
    await reply.begin()
    await reply.event(chunk(body, [65]))
    await reply.socket.aclose()


async def dies(server: Server, reply: Reply, body: dict[str, Any]) -> None:
    assert server.hang_up is not None
    await server.hang_up()
    await breaks_off(server, reply, body)


@asynccontextmanager
async def serving(behaviour: Behaviour, **facts: Any) -> AsyncIterator[Server]:
    server = Server(behaviour, **facts)
    (listener,) = (await anyio.create_tcp_listener(local_host="127.0.0.1")).listeners
    host, port = listener.extra(SocketAttribute.local_address)[:2]
    server.hang_up = listener.aclose
    server.url = f"http://{host}:{port}"

    async def accept() -> None:
        with contextlib.suppress(anyio.ClosedResourceError):
            await listener.serve(server.serve, group)

    with anyio.fail_after(60):
        async with listener, anyio.create_task_group() as group:
            group.start_soon(accept)
            yield server
            group.cancel_scope.cancel()


async def read(engine: SGLangEngine, request: Request) -> tuple[str, tuple[int, ...], Finish]:
    text, ids, finish = "", (), None
    async with engine.generate(request) as stream:
        async for event in stream:
            assert finish is None
            if isinstance(event, Delta):
                text, ids = text + event.text, ids + event.ids
            else:
                finish = event
    assert finish is not None
    return text, ids, finish
