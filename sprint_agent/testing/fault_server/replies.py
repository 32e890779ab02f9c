"""Writes one answer to a connection, with the fault that is wanted in it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from sprint_agent.testing.fault_server.alterations import altered
from sprint_agent.testing.fault_server.answers import ABORTED, Answer, Ending
from sprint_agent.testing.fault_server.apis import ApiDialect, Json
from sprint_agent.testing.fault_server.faults import (
    Aborted,
    Crash,
    Drip,
    Failure,
    Fault,
    Garbage,
    Heartbeats,
    Noise,
    Reset,
    SingleNewlines,
    Slow,
    Stall,
    Status,
    Truncated,
    Unfinished,
    Unstreamed,
    before_head,
    cut_after,
)
from sprint_agent.testing.fault_server.http1 import Connection

_DONE = b"[DONE]"


@dataclass(slots=True)
class ReplyWriter:
    """Writes one answer, as a stream or as one body.

    Its methods return whether the connection can be used again. If not, it must be closed.
    """

    connection: Connection
    dialect: ApiDialect
    answer: Answer
    fault: Fault | None
    crash: Callable[[], Awaitable[None]]
    delay: float = 0.0
    """Seconds before each event."""
    chunk: int = 1
    """How many ids each event contains."""
    sent: int = 0
    """How many ids were sent."""
    begun: bool = field(default=False, init=False)
    """Whether the head of a stream was sent."""

    async def write(self) -> bool:
        """Writes the answer, or the part that the fault lets pass."""
        if before_head(self.fault):
            return await break_connection(self.connection, self.fault, self.crash)
        streams = self.answer.request.stream and not isinstance(self.fault, Unstreamed)
        return await (self._stream() if streams else self._whole())

    async def abort(self) -> bool:
        """Ends an answer that is being written, as a server does when the request is aborted."""
        if not self.answer.request.stream:
            body = self.dialect.whole(self.answer, self.sent, ABORTED)
            await self.connection.respond(200, as_json(body))
            return True
        if not self.begun:
            await self._begin()
        await self._events(self.dialect.events(self.answer, self.sent, self.sent, ABORTED))
        return await self._end(done=True)

    async def _stream(self) -> bool:
        await self._begin()
        await self._events(self.dialect.opening(self.answer))
        for end in self._event_ends():
            await self._wait()
            await self._events(self.dialect.events(self.answer, self.sent, end, None))
            self.sent = end
        if cut_after(self.fault) is not None:
            return await self._end_with_fault()
        await self._wait()
        await self._events(self._last_events())
        if isinstance(self.fault, Heartbeats):
            return await self._beat(self.fault)
        return await self._end(done=not isinstance(self.fault, Unfinished))

    async def _whole(self) -> bool:
        for end in self._event_ends():
            await self._wait()
            self.sent = end
        await self._wait()
        unfinished = isinstance(self.fault, Unfinished) and not self.fault.finish
        if isinstance(self.fault, Failure):
            status = self.fault.code if isinstance(self.fault.code, int) else 500
            await self.connection.respond(status, as_json(self._error(self.fault)))
            return True
        if unfinished:
            body = self.dialect.whole(self.answer, self.sent, None)
        else:
            body = self.dialect.whole(self.answer, len(self.answer.ids), self.answer.ending)
        body = altered(body, self.fault)
        return await respond(self.connection, as_json(body), self.fault, self.crash)

    def _event_ends(self) -> list[int]:
        """Returns after how many ids each event ends, without the last event of a whole answer."""
        after = cut_after(self.fault)
        if after is None:
            return list(range(self.chunk, len(self.answer.ids), self.chunk))
        last = min(after, self.answer.text_tokens)
        return [*range(self.chunk, last, self.chunk), *([last] if last else [])]

    def _last_events(self) -> list[Json]:
        answer = self.answer
        events = self.dialect.events(answer, self.sent, len(answer.ids), answer.ending)
        if isinstance(self.fault, Heartbeats):
            # The usage would end the answer for many clients, even if the stream continues.
            return [event for event in events if event.get("choices") != []]
        return events

    async def _end_with_fault(self) -> bool:
        match self.fault:
            case Garbage(data=data):
                await self._send(data)
                return await self._end(done=False)
            case Failure():
                await self._send(self._frame_error(self.fault))
                return await self._end(done=self.fault.form == "data")
            case Aborted():
                ending = Ending("abort", self.fault.message, self.fault.status)
                await self._events(self.dialect.events(self.answer, self.sent, self.sent, ending))
                return await self._end(done=True)
            case Heartbeats():
                return await self._beat(self.fault)
            case Unfinished(done=done):
                return await self._end(done=done)
            case Truncated():
                event = self._frame(as_json(self._last_events()[0]))
                await self._send(event[: len(event) // 2])
                return False
            case _:
                return await break_connection(self.connection, self.fault, self.crash)

    def _error(self, fault: Failure) -> Json:
        return self.dialect.error(fault.message, fault.code, fault.kind)

    def _frame_error(self, fault: Failure) -> bytes:
        error = self._error(fault)
        match fault.form:
            case "data":
                return self._frame(as_json(error))
            case "event":
                return b"event: error\n" + self._frame(as_json(error))
            case "field":
                return b"error: " + as_json(error["error"]) + b"\n\n"
            case "line":
                return as_json(error) + b"\n"

    async def _beat(self, fault: Heartbeats) -> bool:
        while True:
            await anyio.sleep(fault.seconds)
            await self._send(fault.data)

    async def _wait(self) -> None:
        await anyio.sleep(self.delay)
        await slow_down(self.fault)

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
            if isinstance(self.fault, Noise):
                await self._send(self.fault.data)
            await self._send(self._frame(as_json(altered(event, self.fault))))

    def _frame(self, data: bytes) -> bytes:
        return b"data: " + data + (b"\n" if isinstance(self.fault, SingleNewlines) else b"\n\n")

    async def _send(self, data: bytes) -> None:
        size = 1 if isinstance(self.fault, Drip) else max(len(data), 1)
        for start in range(0, len(data), size):
            await self.connection.chunk(data[start : start + size])


async def respond(
    connection: Connection, body: bytes, fault: Fault | None, crash: Callable[[], Awaitable[None]]
) -> bool:
    """Sends the body of a successful response, unless the fault prevents it.

    Returns whether the connection can be used again.
    """
    match fault:
        case Reset() | Crash() | Stall():
            return await break_connection(connection, fault, crash)
        case Truncated():
            await connection.respond(200, body, sent=len(body) // 2)
            return False
        case Garbage(data=data):
            await connection.respond(200, data)
        case _:
            await connection.respond(200, body)
    return True


async def send_error(connection: Connection, fault: Status, error: Json) -> bool:
    """Sends an HTTP error. `error` is its body if the fault has none."""
    after = fault.retry_after
    value = format(after, ".10g") if isinstance(after, int | float) else after
    headers = {**({} if value is None else {"retry-after": value}), **fault.headers}
    body = as_json(error) if fault.body is None else fault.body
    await connection.respond(fault.code, body, headers)
    return True


async def break_connection(
    connection: Connection, fault: Fault | None, crash: Callable[[], Awaitable[None]]
) -> bool:
    """Applies a Reset, Crash or Stall to a connection."""
    if isinstance(fault, Crash):
        await crash()
    elif isinstance(fault, Stall):
        await anyio.sleep_forever()
    else:
        await connection.reset()
    return False


async def slow_down(fault: Fault | None) -> None:
    """Waits before an event if the fault is Slow."""
    if isinstance(fault, Slow):
        if fault.gate is not None:
            await fault.gate.acquire()
        await anyio.sleep(fault.seconds)


def as_json(value: object) -> bytes:
    """Returns JSON as bytes."""
    return json.dumps(value).encode()
