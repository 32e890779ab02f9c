"""FaultServer: a server on loopback that speaks SGLang's and OpenAI's APIs and fails on request.

    async with FaultServer(lambda prompt: "42") as server:
        server.fail(Status(503, times=2), Reset(after=3))
        ...                                     # your client sends requests to server.url
        assert len(server.requests) == 4

It uses real HTTP over real sockets, so a client meets what it would meet in production: connections
that are refused or reset, streams that end anywhere, and streams that never end. It needs only
anyio, and it records the requests, aborts and disconnects that it sees.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

import anyio

from sprint_agent.engine import Tokenizer
from sprint_agent.testing.fault_server.answers import Model, ParsedRequest
from sprint_agent.testing.fault_server.apis import (
    ApiDialect,
    ChatDialect,
    CompletionDialect,
    Json,
    SGLangDialect,
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
    Unlimited,
    cut_after,
    status_of,
)
from sprint_agent.testing.fault_server.http1 import BadHttp, Connection, HttpRequest
from sprint_agent.testing.fault_server.loopback import Loopback
from sprint_agent.testing.fault_server.replies import (
    ReplyWriter,
    as_json,
    respond,
    send_error,
    slow_down,
)
from sprint_agent.testing.scripted import CharTokenizer, Reply, Script, reply_of


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request for an answer that reached the server."""

    path: str
    rid: str
    """The id of the request. The server makes one if the body has none."""
    body: Json
    at: float
    """When it arrived, in seconds of the event loop's clock."""
    connection: int
    """The number of its connection, from 1."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """A request that its client ended.

    In `aborts`, it was named by a request to `/abort_request`. In `disconnects`, its client closed
    the connection before it had the answer.
    """

    rid: str
    """The id of the request. In `aborts`, it may be the beginning of an id."""
    at: float
    """When it happened, in seconds of the event loop's clock."""


@dataclass(eq=False, slots=True)
class _Call:
    """A request that is being answered."""

    connection: Connection
    dialect: ApiDialect
    request: ParsedRequest
    fault: Fault | None = None
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    disconnected: bool = False


@dataclass(eq=False)
class FaultServer:
    """Answers over HTTP as `script` says, except for the faults in its queue.

    An id outside the vocabulary of the tokenizer crashes the server, as it crashes SGLang. What the
    script raises leaves the `async with` block in an ExceptionGroup.
    """

    script: Script
    """Gets the text of a prompt, as in ScriptedEngine, and returns the reply.

    Ids are decoded, and the messages of a chat are joined. A reply with `hang` stalls the answer. A
    reply with `error` causes an error in the stream.
    """
    tokenizer: Tokenizer = field(default_factory=CharTokenizer)
    """Decodes ids for the script and splits its replies into ids."""
    end_id: int = 3
    """The id at the end of an answer."""
    context_length: int | None = None
    """The most ids of a prompt and its answer, or None for no limit."""
    model: str = "scripted"
    """The name of the model that the server reports."""
    chunk: int = 1
    """How many ids each event contains."""
    incremental: bool = False
    """Whether SGLang's events contain only what is new, instead of everything so far."""
    cached_tokens: int = 0
    """How many tokens of each prompt the server reports as cached."""
    requests: list[ReceivedRequest] = field(default_factory=list[ReceivedRequest], init=False)
    """The requests for answers, in the order in which they arrived."""
    aborts: list[Disconnect] = field(default_factory=list[Disconnect], init=False)
    """The requests to abort other requests."""
    disconnects: list[Disconnect] = field(default_factory=list[Disconnect], init=False)
    """The requests whose client closed the connection before it had the answer."""
    flushes: int = field(default=0, init=False)
    """How often the cache was flushed."""

    def __post_init__(self) -> None:
        self._dialects: dict[str, ApiDialect] = {
            "/generate": SGLangDialect(self.incremental),
            "/v1/completions": CompletionDialect(),
            "/v1/chat/completions": ChatDialect(),
        }
        self._queue: list[tuple[Fault, int | None]] = []
        self._calls: list[_Call] = []
        self._model = Model(
            self.model, self.tokenizer, self.end_id, self.context_length, self.cached_tokens
        )
        self._loopback = Loopback(self._serve_one)
        self._changed = anyio.Event()

    async def __aenter__(self) -> Self:
        """Starts to listen on a free port."""
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
        """The server's address, such as `http://127.0.0.1:40001`. A restart does not change it."""
        return self._loopback.url

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        return self._loopback.connections

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that have not happened as often as requested."""
        return tuple(fault for fault, _ in self._queue)

    @property
    def rids(self) -> list[str]:
        """The ids of the requests, in the order in which they arrived."""
        return [request.rid for request in self.requests]

    @property
    def in_flight(self) -> int:
        """How many requests are being answered."""
        return len(self._calls)

    def fail(self, *faults: Fault) -> None:
        """Adds faults to the queue. Each request gets the first one that is for its path."""
        self._queue += [(fault, fault.times) for fault in faults]

    async def until(self, condition: Callable[[], object], within: float = 60.0) -> None:
        """Waits until `condition()` is true. It is checked whenever the server's records change.

        Raises:
            TimeoutError: the condition is not true after `within` seconds.
        """
        with anyio.fail_after(within):
            while not condition():
                await self._changed.wait()

    async def crash(self) -> None:
        """Resets every connection, and refuses new ones until `restart`."""
        await self._loopback.crash()

    async def restart(self) -> None:
        """Listens again at the same address after a crash."""
        await self._loopback.restart()

    async def _serve_one(self, connection: Connection) -> bool:
        """Serves one request. Returns whether the connection can serve another."""
        self._notify()
        try:
            request = await connection.read()
        except BadHttp as error:
            await connection.respond(400, as_json({"detail": str(error)}))
            return False
        dialect = self._dialects.get(request.path)
        if dialect is None:
            reusable = await self._serve_other(connection, request)
        else:
            reusable = await self._serve_generation(connection, request, dialect)
        return reusable and request.keeps_open

    def _next_fault(self, path: str, body: Json) -> Fault | None:
        for position, (fault, left) in enumerate(self._queue):
            is_here = fault.path == path or (fault.path is None and path in self._dialects)
            if is_here and fault.concerns(body):
                if left == 1:
                    del self._queue[position]
                elif left is not None:
                    self._queue[position] = (fault, left - 1)
                return fault
        return None

    async def _serve_generation(
        self, connection: Connection, http_request: HttpRequest, dialect: ApiDialect
    ) -> bool:
        """Serves a request for an answer."""
        body, request, problem = _parse(http_request, dialect, self.tokenizer)
        problem = problem or self._problem(request)
        path = http_request.path
        call = _Call(connection, dialect, request, self._next_fault(path, body))
        self.requests.append(
            ReceivedRequest(path, request.rid, body, anyio.current_time(), connection.number)
        )
        self._calls.append(call)
        self._notify()
        try:
            status = status_of(call.fault, body)
            if status is not None:
                error = dialect.error(status.message, status.code)
                return await send_error(connection, status, error)
            if problem is not None:
                if not (dialect.refuses_in_stream and request.stream):
                    return await send_error(connection, Status(400), dialect.error(problem, 400))
                call.fault = Failure(problem, 400)
            return await self._answer_while_connected(call)
        finally:
            self._calls.remove(call)
            self._notify()

    def _problem(self, request: ParsedRequest) -> str | None:
        """Returns why SGLang would refuse the request, or None if it would not."""
        if request.rid in [call.request.rid for call in self._calls]:
            return f"Duplicate request ID detected: {request.rid}"
        return self._model.problem(request)

    async def _answer_while_connected(self, call: _Call) -> bool:
        """Answers until the client disconnects."""
        reusable = False

        async def watch() -> None:
            if await call.connection.closed_by_client():
                self._record_disconnect(call)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            try:
                reusable = await self._answer(call)
            except anyio.BrokenResourceError:
                self._record_disconnect(call)
            except anyio.ClosedResourceError:
                pass
            group.cancel_scope.cancel()
        return reusable

    def _record_disconnect(self, call: _Call) -> None:
        """Records once that the client disconnected. Reading and writing notice it in any order."""
        if not call.disconnected:
            call.disconnected = True
            self.disconnects.append(Disconnect(call.request.rid, anyio.current_time()))
            self._notify()

    async def _answer(self, call: _Call) -> bool:
        if not self._model.knows(call.request):
            await self.crash()
            return False
        # A script that returns one text after another must not lose one that a fault would hide.
        reply = Reply("") if cut_after(call.fault) == 0 else await self._reply(call.request)
        fault = call.fault or _fault_of(reply)
        request, most = call.request, call.dialect.default_max_tokens
        if isinstance(fault, Unlimited):
            request, most = replace(request, max_tokens=None), sys.maxsize
        answer = self._model.answer(request, reply, most)
        if isinstance(fault, Filtered):
            answer = answer.filtered(fault.after)
        elif isinstance(fault, Declined):
            answer = replace(answer, declined=True)
        writer = ReplyWriter(
            call.connection, call.dialect, answer, fault, self.crash, reply.delay, self.chunk
        )
        with call.scope:
            if reply.after is not None:
                await reply.after.wait()
            reusable = await writer.write()
            if reply.sets is not None:
                reply.sets.set()
            return reusable
        return await writer.abort()

    async def _reply(self, request: ParsedRequest) -> Reply:
        return await reply_of(self.script, self._model.text_of(request))

    async def _serve_other(self, connection: Connection, request: HttpRequest) -> bool:
        """Serves a request that does not ask for an answer."""
        fault = self._next_fault(request.path, {})
        if isinstance(fault, Status):
            return await send_error(connection, fault, {"detail": fault.message})
        try:
            body = self._other_body(request)
        except ValueError as error:
            return await send_error(connection, Status(400), {"detail": str(error)})
        if body is None:
            return await send_error(connection, Status(404), {"detail": "Not Found"})
        await slow_down(fault)
        return await respond(connection, body, fault, self.crash)

    def _other_body(self, request: HttpRequest) -> bytes | None:
        """Does what the request asks for and returns the body, or None for an unknown path.

        Raises:
            ValueError: the body of the request is invalid.
        """
        match request.path:
            case "/health" | "/health_generate":
                return b""
            case "/abort_request":
                self._abort(request.json())
                return b""
            case "/flush_cache":
                self.flushes += 1
                self._notify()
                return b"Cache flushed.\n"
            case path:
                description = self_description(path, self._model, self.incremental)
                return None if description is None else as_json(description)

    def _abort(self, body: Json) -> None:
        rid, abort_all = str(body.get("rid") or ""), bool(body.get("abort_all"))
        self.aborts.append(Disconnect(rid, anyio.current_time()))
        for call in self._calls:
            # The beginning of an id is enough, as with SGLang.
            if abort_all or (rid and call.request.rid.startswith(rid)):
                call.scope.cancel()
        self._notify()

    def _notify(self) -> None:
        """Makes `until` check its condition again."""
        self._changed.set()
        self._changed = anyio.Event()


def _parse(
    request: HttpRequest, dialect: ApiDialect, tokenizer: Tokenizer
) -> tuple[Json, ParsedRequest, str | None]:
    """Returns the body, the parsed request, and what is wrong with it if anything is."""
    body: Json = {}
    try:
        body = request.json()
        return body, dialect.read(body, tokenizer), None
    except ValueError as error:
        return body, ParsedRequest(str(body.get("rid") or ""), ()), str(error)


def _fault_of(reply: Reply) -> Fault | None:
    """Returns the fault that the script itself requests."""
    if reply.hang:
        return Stall(ALL)
    return None if reply.error is None else Failure(str(reply.error), after=ALL)
