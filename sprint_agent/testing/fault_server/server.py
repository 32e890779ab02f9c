"""FaultServer: a server on loopback that speaks SGLang and OpenAI, and misbehaves on request.

    async with FaultServer(lambda prompt: "42") as server:
        server.fail(Status(503, times=2), Reset(after=3))
        ...                                     # a client of yours, at server.url
        assert len(server.requests) == 4

It is real HTTP over real sockets, so what a client meets is what it would meet in production: refused
and reset connections, streams that break off anywhere, an end that never comes. It needs nothing but
anyio, and it keeps notes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import anyio

from sprint_agent.engine import Tokenizer
from sprint_agent.testing.fault_server.answers import Model, ParsedRequest
from sprint_agent.testing.fault_server.apis import (
    ApiDialect,
    ChatVoice,
    CompletionVoice,
    Json,
    SGLangVoice,
    self_description,
)
from sprint_agent.testing.fault_server.faults import (
    ALL,
    Declined,
    Failure,
    Fault,
    Filtered,
    Stall,
    Status,
    cut_after,
)
from sprint_agent.testing.fault_server.http1 import BadHttp, Connection, HttpRequest
from sprint_agent.testing.fault_server.loopback import Loopback
from sprint_agent.testing.fault_server.replies import ReplyWriter, as_json, dawdle, refuse, respond
from sprint_agent.testing.scripted import CharTokenizer, Reply, Script


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request for an answer that reached the server; `at` is when, in the event loop's seconds.

    `rid` is the id that it is known by, which the server gives where the body has none.
    `connection` is the number of the connection that it came by, from 1.
    """

    path: str
    rid: str
    body: dict[str, Any]
    at: float
    connection: int


@dataclass(frozen=True, slots=True)
class Disconnect:
    """A request that was ended from outside, at `at` in the event loop's seconds.

    In `aborts`, one that `/abort_request` named, by its id or the beginning of it; in `disconnects`,
    one whose reader closed the connection before it had the answer.
    """

    rid: str
    at: float


@dataclass(eq=False, slots=True)
class _Call:
    """A request that is being answered."""

    connection: Connection
    voice: ApiDialect
    asking: ParsedRequest
    fault: Fault | None = None
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    disconnected: bool = False


@dataclass(eq=False)
class FaultServer:
    """Answers as `script` says, over HTTP, but for the faults in its queue.

    The script is given a prompt's text, as ScriptedEngine's is: ids are decoded by `tokenizer`, a
    chat's messages are joined. Of what it may say, `hang` stalls the answer and `error` is an error
    in the stream. What the script raises leaves the `async with` block, in an ExceptionGroup.

    `end_id` stands at the end of an answer. An id that the tokenizer does not have crashes the
    server, as it does SGLang. Each event holds `chunk` ids; `incremental` is SGLang's way to stream
    only what is new; `model` is what it says that it serves, and `cached_tokens` how much of each
    prompt it says that it had.
    """

    script: Script
    tokenizer: Tokenizer = field(default_factory=CharTokenizer)
    end_id: int = 3
    context_length: int | None = None
    model: str = "scripted"
    chunk: int = 1
    incremental: bool = False
    cached_tokens: int = 0
    requests: list[ReceivedRequest] = field(default_factory=list[ReceivedRequest], init=False)
    aborts: list[Disconnect] = field(default_factory=list[Disconnect], init=False)
    disconnects: list[Disconnect] = field(default_factory=list[Disconnect], init=False)
    flushes: int = field(default=0, init=False)
    """How often the cache was flushed."""

    def __post_init__(self) -> None:
        self._voices: dict[str, ApiDialect] = {
            "/generate": SGLangVoice(self.incremental),
            "/v1/completions": CompletionVoice(),
            "/v1/chat/completions": ChatVoice(),
        }
        self._queue: list[tuple[Fault, int | None]] = []
        self._calls: list[_Call] = []
        self._model = Model(
            self.model, self.tokenizer, self.end_id, self.context_length, self.cached_tokens
        )
        self._loopback = Loopback(self._serve_one)
        self._changed = anyio.Event()

    async def __aenter__(self) -> Self:
        """Begins to listen, on a port that is free."""
        await self._loopback.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Closes every connection."""
        return await self._loopback.__aexit__(exc_type, exc, traceback)

    @property
    def url(self) -> str:
        """Where it listens, such as `http://127.0.0.1:40001`; the same after a restart."""
        return self._loopback.url

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        return self._loopback.connections

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that have not yet happened as often as they were to."""
        return tuple(fault for fault, _ in self._queue)

    @property
    def rids(self) -> list[str]:
        """The ids of the requests, in the order in which they came."""
        return [asked.rid for asked in self.requests]

    @property
    def in_flight(self) -> int:
        """How many requests are being answered."""
        return len(self._calls)

    def fail(self, *faults: Fault) -> None:
        """Puts faults into the queue: each request meets the first one there that is for its path."""
        self._queue += [(fault, fault.times) for fault in faults]

    async def until(self, seen: Callable[[], object], within: float = 60.0) -> None:
        """Returns as soon as `seen()` is true. It is asked whenever the server has seen something.

        TimeoutError where it is not true within so many seconds.
        """
        with anyio.fail_after(within):
            while not seen():
                await self._changed.wait()

    async def crash(self) -> None:
        """Resets every connection, and refuses new ones until `restart`."""
        await self._loopback.crash()

    async def restart(self) -> None:
        """Listens again after a crash, at the same address."""
        await self._loopback.restart()

    async def _serve_one(self, connection: Connection) -> bool:
        """Serves one request; whether there can be another."""
        self._note()
        try:
            request = await connection.read()
        except BadHttp as error:
            await connection.respond(400, as_json({"detail": str(error)}))
            return False
        voice = self._voices.get(request.path)
        if voice is None:
            goes_on = await self._other(connection, request)
        else:
            goes_on = await self._generation(connection, request, voice)
        return goes_on and request.keeps_open

    def _next_fault(self, path: str) -> Fault | None:
        for place, (fault, left) in enumerate(self._queue):
            if fault.path == path or (fault.path is None and path in self._voices):
                if left == 1:
                    del self._queue[place]
                elif left is not None:
                    self._queue[place] = (fault, left - 1)
                return fault
        return None

    async def _generation(
        self, connection: Connection, request: HttpRequest, voice: ApiDialect
    ) -> bool:
        """Answers a request for an answer."""
        body, asking, problem = _read(request, voice, self.tokenizer)
        problem = problem or self._problem(asking)
        call = _Call(connection, voice, asking, self._next_fault(request.path))
        asked = ReceivedRequest(
            request.path, asking.rid, body, anyio.current_time(), connection.number
        )
        self.requests.append(asked)
        self._calls.append(call)
        self._note()
        try:
            if isinstance(call.fault, Status):
                return await refuse(connection, call.fault, _error(voice, call.fault))
            if problem is not None:
                if not (voice.refuses_in_stream and asking.stream):
                    return await refuse(connection, Status(400), voice.error(problem, 400))
                call.fault = Failure(problem, 400)
            return await self._watched(call)
        finally:
            self._calls.remove(call)
            self._note()

    def _problem(self, asking: ParsedRequest) -> str | None:
        """Why SGLang would refuse such a request; None where it would not."""
        if asking.rid in [call.asking.rid for call in self._calls]:
            return f"Duplicate request ID detected: {asking.rid}"
        return self._model.problem(asking)

    async def _watched(self, call: _Call) -> bool:
        """Answers while somebody is there to read."""
        goes_on = False

        async def watch() -> None:
            if await call.connection.left():
                self._lost(call)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            try:
                goes_on = await self._answer(call)
            except anyio.BrokenResourceError:
                self._lost(call)
            except anyio.ClosedResourceError:
                pass
            group.cancel_scope.cancel()
        return goes_on

    def _lost(self, call: _Call) -> None:
        """Notes that the reader has gone: the connection's two ends tell it, in either order."""
        if not call.disconnected:
            call.disconnected = True
            self.disconnects.append(Disconnect(call.asking.rid, anyio.current_time()))
            self._note()

    async def _answer(self, call: _Call) -> bool:
        if not self._model.knows(call.asking):
            await self.crash()
            return False
        # A script that gives one text after another must not lose one to a fault that hides it.
        say = Reply("") if cut_after(call.fault) == 0 else self._said(call.asking)
        answer = self._model.answer(call.asking, say, call.voice.default_most)
        fault = call.fault or _fault_of(say)
        if isinstance(fault, Filtered):
            answer = answer.filtered(fault.after)
        elif isinstance(fault, Declined):
            answer = replace(answer, declined=True)
        reply = ReplyWriter(
            call.connection, call.voice, answer, fault, self.crash, say.pace, self.chunk
        )
        with call.scope:
            if say.after is not None:
                await say.after.wait()
            goes_on = await reply.say()
            if say.sets is not None:
                say.sets.set()
            return goes_on
        return await reply.abort()

    def _said(self, asking: ParsedRequest) -> Reply:
        said = self.script(self._model.text_of(asking))
        return Reply(said) if isinstance(said, str) else said

    async def _other(self, connection: Connection, request: HttpRequest) -> bool:
        """Answers what is no request for an answer."""
        fault = self._next_fault(request.path)
        if isinstance(fault, Status):
            return await refuse(connection, fault, {"detail": fault.message})
        try:
            body = self._fact(request)
        except ValueError as error:
            return await refuse(connection, Status(400), {"detail": str(error)})
        if body is None:
            return await refuse(connection, Status(404), {"detail": "Not Found"})
        await dawdle(fault)
        return await respond(connection, body, fault, self.crash)

    def _fact(self, request: HttpRequest) -> bytes | None:
        """What the server does and says on its lesser paths. ValueError for a body that is none."""
        match request.path:
            case "/health" | "/health_generate":
                return b""
            case "/abort_request":
                self._abort(request.json())
                return b""
            case "/flush_cache":
                self.flushes += 1
                self._note()
                return b"Cache flushed.\n"
            case path:
                said = self_description(path, self._model, self.incremental)
                return None if said is None else as_json(said)

    def _abort(self, body: Json) -> None:
        rid, everything = str(body.get("rid") or ""), bool(body.get("abort_all"))
        self.aborts.append(Disconnect(rid, anyio.current_time()))
        for call in self._calls:
            # By its beginning, as SGLang does.
            if everything or (rid and call.asking.rid.startswith(rid)):
                call.scope.cancel()
        self._note()

    def _note(self) -> None:
        """Wakes whoever waits in `until`."""
        self._changed.set()
        self._changed = anyio.Event()


def _read(
    request: HttpRequest, voice: ApiDialect, tokenizer: Tokenizer
) -> tuple[Json, ParsedRequest, str | None]:
    """A request's body, what it asks for, and what is wrong with it."""
    body: Json = {}
    try:
        body = request.json()
        return body, voice.read(body, tokenizer), None
    except ValueError as error:
        return body, ParsedRequest(str(body.get("rid") or ""), ()), str(error)


def _error(voice: ApiDialect, fault: Status) -> Json:
    return voice.error(fault.message, fault.code)


def _fault_of(say: Reply) -> Fault | None:
    """What the script itself wants to go wrong."""
    if say.hang:
        return Stall(ALL)
    return None if say.error is None else Failure(str(say.error), after=ALL)
