"""One answer on its way over a connection, with whatever fault is wanted in it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from sprint_agent.testing.fault_server.answers import ABORTED, Answer
from sprint_agent.testing.fault_server.apis import ApiDialect, Json
from sprint_agent.testing.fault_server.faults import (
    Crash,
    Drip,
    Failure,
    Fault,
    Garbage,
    Reset,
    SingleNewlines,
    Slow,
    Stall,
    Status,
    Truncated,
    Unfinished,
    before_head,
    cut_after,
)
from sprint_agent.testing.fault_server.http1 import Connection

_DONE = b"[DONE]"


@dataclass(slots=True)
class ReplyWriter:
    """Says one answer, as a stream or whole. `pace` is the seconds before each event.

    Its methods return whether the connection can be used again; else it is to be finished.
    """

    connection: Connection
    voice: ApiDialect
    answer: Answer
    fault: Fault | None
    crash: Callable[[], Awaitable[None]]
    pace: float = 0.0
    chunk: int = 1
    said: int = 0
    begun: bool = field(default=False, init=False)

    async def say(self) -> bool:
        """Says the answer, or as much of it as the fault leaves."""
        if before_head(self.fault):
            return await break_off(self.connection, self.fault, self.crash)
        return await (self._stream() if self.answer.asking.stream else self._whole())

    async def abort(self) -> bool:
        """Ends an answer that was under way, as a server does that was told to abort it."""
        if not self.answer.asking.stream:
            body = self.voice.whole(self.answer, self.said, ABORTED)
            await self.connection.respond(200, as_json(body))
            return True
        if not self.begun:
            await self._begin()
        await self._events(self.voice.events(self.answer, self.said, self.said, ABORTED))
        return await self._end(done=True)

    async def _stream(self) -> bool:
        await self._begin()
        await self._events(self.voice.opening(self.answer))
        for end in self._ends():
            await self._wait()
            await self._events(self.voice.events(self.answer, self.said, end, None))
            self.said = end
        if cut_after(self.fault) is not None:
            return await self._cut()
        await self._wait()
        await self._events(self._rest())
        return await self._end(done=not isinstance(self.fault, Unfinished))

    async def _whole(self) -> bool:
        for end in self._ends():
            await self._wait()
            self.said = end
        await self._wait()
        unfinished = isinstance(self.fault, Unfinished) and not self.fault.finish
        if isinstance(self.fault, Failure):
            body = self.voice.error(self.fault.message, self.fault.code)
            await self.connection.respond(self.fault.code, as_json(body))
            return True
        if unfinished:
            body = self.voice.whole(self.answer, self.said, None)
        else:
            body = self.voice.whole(self.answer, len(self.answer.ids), self.answer.ending)
        return await respond(self.connection, as_json(body), self.fault, self.crash)

    def _ends(self) -> list[int]:
        """After how many ids each event ends, but for the last event of a whole answer."""
        after = cut_after(self.fault)
        if after is None:
            return list(range(self.chunk, len(self.answer.ids), self.chunk))
        most = min(after, self.answer.said)
        return [*range(self.chunk, most, self.chunk), *([most] if most else [])]

    def _rest(self) -> list[Json]:
        answer = self.answer
        return self.voice.events(answer, self.said, len(answer.ids), answer.ending)

    async def _cut(self) -> bool:
        match self.fault:
            case Garbage(data=data):
                await self._send(data)
                return await self._end(done=False)
            case Failure(message=message, code=code):
                await self._events([self.voice.error(message, code)])
                return await self._end(done=True)
            case Unfinished(done=done):
                return await self._end(done=done)
            case Truncated():
                event = self._frame(as_json(self._rest()[0]))
                await self._send(event[: len(event) // 2])
                return False
            case _:
                return await break_off(self.connection, self.fault, self.crash)

    async def _wait(self) -> None:
        await anyio.sleep(self.pace)
        await dawdle(self.fault)

    async def _begin(self) -> None:
        self.begun = True
        await self.connection.begin()

    async def _end(self, *, done: bool) -> bool:
        if done:
            await self._send(self._frame(_DONE))
        await self.connection.end()
        return True

    async def _events(self, events: list[Json]) -> None:
        for event in events:
            await self._send(self._frame(as_json(event)))

    def _frame(self, data: bytes) -> bytes:
        return b"data: " + data + (b"\n" if isinstance(self.fault, SingleNewlines) else b"\n\n")

    async def _send(self, data: bytes) -> None:
        size = 1 if isinstance(self.fault, Drip) else max(len(data), 1)
        for start in range(0, len(data), size):
            await self.connection.chunk(data[start : start + size])


async def respond(
    connection: Connection, body: bytes, fault: Fault | None, crash: Callable[[], Awaitable[None]]
) -> bool:
    """Sends a whole body of a request that went well, unless the fault is against it.

    Returns whether the connection can be used again.
    """
    match fault:
        case Reset() | Crash() | Stall():
            return await break_off(connection, fault, crash)
        case Truncated():
            await connection.respond(200, body, most=len(body) // 2)
            return False
        case Garbage(data=data):
            await connection.respond(200, data)
        case _:
            await connection.respond(200, body)
    return True


async def refuse(connection: Connection, fault: Status, error: Json) -> bool:
    """Sends an HTTP error; `error` is what its body says where the fault has none of its own."""
    after = fault.retry_after
    said = format(after, ".10g") if isinstance(after, int | float) else after
    headers = {} if said is None else {"retry-after": said}
    body = as_json(error) if fault.body is None else fault.body
    await connection.respond(fault.code, body, headers)
    return True


async def break_off(
    connection: Connection, fault: Fault | None, crash: Callable[[], Awaitable[None]]
) -> bool:
    """What Reset, Crash and Stall do to a connection."""
    if isinstance(fault, Crash):
        await crash()
    elif isinstance(fault, Stall):
        await anyio.sleep_forever()
    else:
        await connection.reset()
    return False


async def dawdle(fault: Fault | None) -> None:
    """What Slow does before an event."""
    if isinstance(fault, Slow):
        if fault.gate is not None:
            await fault.gate.acquire()
        await anyio.sleep(fault.seconds)


def as_json(said: object) -> bytes:
    """JSON, in bytes."""
    return json.dumps(said).encode()
