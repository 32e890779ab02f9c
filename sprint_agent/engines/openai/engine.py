"""The engine of any OpenAI-compatible server, through the openai package: text in, text out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Self

from sprint_agent.engine import Delta, Finish, FinishReason, Request, TokenUsage
from sprint_agent.engines.http_client import EventBody, error_code, part, read_object
from sprint_agent.engines.openai import wire
from sprint_agent.engines.openai.server import Call, Mode, Server, open_server
from sprint_agent.errors import EngineError, EngineUnavailable, RequestRefused, TruncatedStream


class OpenAIEngine:
    """Generates on an OpenAI-compatible server.

    In mode "completions" a model that was trained on the tags goes on with the text. In mode "chat"
    any instruct or reasoning model is prompted to write them; what it thinks is counted, and is no
    part of its answer.

    Usage is the server's where it tells; elsewhere each event of a stream counts as one token, and
    prompts as none. A parameter that the server does not take, such as the temperature of some
    reasoning models, is left out from then on.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str,
        mode: Mode = "chat",
        api_key: str | None = None,
        idle_seconds: float = 60.0,
    ) -> None:
        """`base_url` is the address that `/chat/completions` stands behind; mostly it ends in `/v1`.

        `api_key` is that of the environment (OPENAI_API_KEY) where not given; a server that wants
        none needs none. A server that sends nothing for `idle_seconds` is given up: allow for the
        time that a model thinks in silence.
        """
        self._url = base_url.rstrip("/")
        self._model = model
        self._mode: Mode = mode
        # The package insists on a key; what wants none does not look at it.
        self._key = (api_key or os.environ.get("OPENAI_API_KEY") or "none").strip()
        self._idle = idle_seconds
        self._server: Server | None = None
        self._running: set[str] = set()

    @property
    def tokenizer(self) -> None:
        """None: such servers take text."""

    @property
    def context_length(self) -> int | None:
        """The most tokens of prompt and answer, where the server tells.

        EngineUnavailable while the engine is not entered.
        """
        return self._entered().context_length

    @property
    def in_flight(self) -> int:
        """How many requests are open."""
        return len(self._running)

    async def __aenter__(self) -> Self:
        """Asks the server for its models. EngineUnavailable where none answers, or wants a key."""
        if self._server is not None:
            raise EngineUnavailable("the OpenAI engine is entered already; use another one")
        server = open_server(self._url, self._model, self._mode, self._key, self._idle)
        try:
            await server.learn()
        except BaseException:
            await server.close()
            raise
        self._server = server
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the connections."""
        server, self._server = self._server, None
        if server is not None:
            await server.close()

    def generate(
        self, request: Request
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta | Finish]]:
        """Streams one answer; see the protocol.

        Entering raises RequestRefused or ContextTooLong for a request that cannot be run, and
        EngineUnavailable where the server is not reached, or fails. Reading raises TruncatedStream
        where the stream breaks off, EngineUnavailable where the server fails or is silent for too
        long, and EngineError for what is no answer: a refusal, a filtered text, a call of a tool.
        """
        return self._generate(request)

    @asynccontextmanager
    async def _generate(self, request: Request) -> AsyncGenerator[_Stream]:
        server = self._entered()
        if request.request_id in self._running:
            raise RequestRefused(f"request {request.request_id} is running already")
        self._running.add(request.request_id)
        try:
            stream = _Stream(server.url, *await server.send(request))
            try:
                yield stream
            finally:
                await stream.close()
        finally:
            self._running.discard(request.request_id)

    def _entered(self) -> Server:
        if self._server is None:
            raise EngineUnavailable("the OpenAI engine is not entered: async with OpenAIEngine(…)")
        return self._server


class _Stream:
    """One answer, from its beginning to its end."""

    def __init__(self, url: str, call: Call, body: EventBody) -> None:
        self._url = url
        self._reader = call.reader
        self._behind_stop = call.behind_stop
        self._body = body
        self._events: deque[Delta | Finish] = deque()
        self._refusal = ""
        self._usage: TokenUsage | None = None
        self._tokens = 0
        self._reason: FinishReason | None = None
        # Whether the server may be generating for this request.
        self._live = True
        self._over = False

    async def close(self) -> None:
        """Lets the connection go. A server that is still generating sees it close, and ends."""
        # A finished body is read to its end, which lets the connection be used again.
        before = () if self._live else (self._body.drain,)
        await part(*before, self._body.close)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta | Finish:
        while not self._events:
            if self._over:
                raise StopAsyncIteration
            await self._read()
        return self._events.popleft()

    async def _read(self) -> None:
        """Reads on. What goes wrong behind the answer costs no more than the server's usage."""
        try:
            for data in await self._body.read():
                if not self._over:
                    self._take(data)
        except EngineError:
            if self._reason is None:
                raise
            self._finish(self._reason)

    def _take(self, data: str) -> None:
        """Takes one event."""
        if data.startswith("[DONE]"):
            self._live = False
            raise TruncatedStream(
                f"the server at {self._url} gave no finish reason", transient=True
            )
        try:
            said = read_object(data)
            failed = said.get("error") or said.get("object") == "error"
            chunk = None if failed else wire.read_chunk(said)
        except ValueError as error:
            raise EngineError(
                f"the server at {self._url} sent an unreadable event ({error})"
            ) from error
        if chunk is None:
            raise wire.refused(self._url, error_code(said), said)
        self._tokens += chunk.generated
        self._usage = chunk.usage or self._usage
        self._live = self._live and chunk.finish is None
        if self._reason is None:
            self._hear(chunk)
        else:
            self._pass(self._reason, chunk)

    def _hear(self, chunk: wire.Chunk) -> None:
        """Takes the next part of the answer, which may end it."""
        text = self._reader.feed(chunk.text)
        self._refusal += chunk.refusal
        if chunk.finish is not None:
            text += self._reader.flush()
        if chunk.generated or text:
            self._events.append(Delta(text))
        if self._reader.stop is not None:
            self._reason = "stop"
            if self._live and self._behind_stop == 0:
                self._finish(self._reason)
        elif chunk.finish is not None:
            ending = wire.ending(self._url, chunk.finish)
            if self._refusal:
                raise EngineError(f"the model refused: {self._refusal}")
            self._reason = ending

    def _pass(self, reason: FinishReason, chunk: wire.Chunk) -> None:
        """Takes what comes behind the answer: the rest of the stop, and the usage."""
        self._behind_stop -= chunk.generated
        if chunk.last or (self._live and self._behind_stop <= 0):
            self._finish(reason)

    def _finish(self, reason: FinishReason) -> None:
        usage = self._usage or TokenUsage(completion_tokens=self._tokens)
        self._events.append(Finish(reason, usage, self._reader.stop))
        self._over = True
