"""The engine for any OpenAI-compatible server. It uses the openai package: text in, text out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Self

from sprint_agent.engine import Delta, Finish, FinishReason, Request, TokenUsage
from sprint_agent.engines.event_body import EventBody
from sprint_agent.engines.finish_reasons import read_finish
from sprint_agent.engines.http_client import close_stream
from sprint_agent.engines.openai import wire
from sprint_agent.engines.openai.server import Call, Mode, Server, open_server
from sprint_agent.engines.server_errors import ErrorReply, shortened
from sprint_agent.errors import EngineError, EngineUnavailable, RequestRefused


class OpenAIEngine:
    """Generates on an OpenAI-compatible server.

    In mode "completions" a model that was trained on the tags continues the text. In mode "chat" any
    instruct or reasoning model is prompted to write the tags. Its thoughts are counted, but are not
    part of its answer.

    Usage is what the server reports. If it reports none, each event of a stream counts as one token
    and the prompt as none. If the server refuses a parameter, such as the temperature with some
    reasoning models, the parameter is omitted from then on.
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
        """Prepares an engine. Nothing is sent before it is entered.

        Args:
            base_url: The address to which `/chat/completions` is appended. It mostly ends in `/v1`.
            model: The name of the model on the server.
            mode: Whether the model is prompted as a chat or continues the text.
            api_key: The default is the environment variable OPENAI_API_KEY. A server that wants no
                key needs none.
            idle_seconds: How long no token may come before the request fails with EngineStalled. What
                only keeps the connection alive does not count. Allow for the time that a request waits
                in the server, and in which a model thinks without sending anything.
        """
        self._url = base_url.rstrip("/")
        self._model = model
        self._mode: Mode = mode
        # The package requires a key. A server that wants no key ignores it.
        self._key = (api_key or os.environ.get("OPENAI_API_KEY") or "none").strip()
        self._idle = idle_seconds
        self._server: Server | None = None
        self._running: set[str] = set()

    @property
    def tokenizer(self) -> None:
        """None, because these servers take text."""

    @property
    def context_length(self) -> int | None:
        """The most tokens that a prompt and its answer may have together. None if not known.

        Raises:
            EngineUnavailable: The engine is not entered.
        """
        return self._entered().context_length

    @property
    def in_flight(self) -> int:
        """The number of open requests."""
        return len(self._running)

    async def __aenter__(self) -> Self:
        """Asks the server for its models.

        Raises:
            EngineUnavailable: No server answers, the server wants another key, or the engine has
                already been entered.
        """
        if self._server is not None:
            raise EngineUnavailable("the OpenAI engine has already been entered: use another one")
        server = open_server(self._url, self._model, self._mode, self._key, self._idle)
        try:
            await server.read_models()
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
        """Streams one answer, as `Engine.generate` does.

        Raises:
            RequestRefused: On entering: the request cannot be run.
            ContextTooLong: On entering: the prompt leaves no room for an answer.
            EngineUnavailable: On entering: the server cannot be reached or failed. On reading: the
                server failed. EngineStalled if no token came for too long.
            TruncatedStream: On reading: the stream broke off.
            EngineError: On reading: the server sent something that is not an answer, such as a
                refusal, a filtered text or a tool call.
        """
        return self._generate(request)

    @asynccontextmanager
    async def _generate(self, request: Request) -> AsyncGenerator[_Stream]:
        server = self._entered()
        if request.request_id in self._running:
            raise RequestRefused(f"request {request.request_id} is running already")
        self._running.add(request.request_id)
        try:
            stream = _Stream(server, request.sampling.max_tokens, *await server.send(request))
            try:
                yield stream
            finally:
                await stream.close()
        finally:
            self._running.discard(request.request_id)

    def _entered(self) -> Server:
        if self._server is None:
            raise EngineUnavailable(
                "the OpenAI engine is not entered: use async with OpenAIEngine(…)"
            )
        return self._server


class _Stream:
    """One answer, from its beginning to its end."""

    def __init__(self, server: Server, max_tokens: int, call: Call, body: EventBody) -> None:
        self._server = server
        self._max_tokens = max_tokens
        self._reader = call.reader
        self._tokens_after_stop = call.tokens_after_stop
        self._body = body
        self._events: deque[Delta | Finish] = deque()
        self._refusal = ""
        self._has_text = False
        self._usage: TokenUsage | None = None
        self._tokens = 0
        # The last finish reason that the server gave.
        self._reason: FinishReason | None = None
        # Whether text came after a finish reason. Then a finish reason alone does not end the answer.
        self._continued = server.finishes_early
        # Whether the server may be generating for this request.
        self._live = True
        self._at_end = False
        self._over = False

    async def close(self) -> None:
        """Releases the connection. A server that is still generating sees it close and stops."""
        # A finished body is read to its end, so that the connection can be reused.
        before = () if self._live else (self._body.drain,)
        await close_stream(*before, self._body.close)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta | Finish:
        while not self._events:
            if self._over:
                raise StopAsyncIteration
            await self._read()
        return self._events.popleft()

    async def _read(self) -> None:
        """Reads the next bytes. An error after the end of the answer only loses the server's usage."""
        try:
            events = await self._body.read()
        except ErrorReply as reply:
            if not self._is_complete:
                raise self._server.failure(reply) from self._server.cause_of(reply)
            events = None
        except EngineError:
            if not self._is_complete:
                raise
            events = None
        for event in events or ():
            if not self._at_end:
                self._on_event(event)
        if events is None or self._at_end:
            self._live = self._live and not self._body.ended
            self._end()

    @property
    def _is_complete(self) -> bool:
        """Whether the answer is complete even if the stream does not end in order."""
        return self._reader.stop is not None or (self._reason is not None and not self._continued)

    def _on_event(self, event: dict[str, object]) -> None:
        """Takes one event."""
        try:
            chunk = wire.read_chunk(event)
        except ValueError as error:
            if not self._is_complete:
                raise EngineError(
                    f"the server at {self._server.url} sent an unreadable event ({error})"
                ) from error
            self._at_end = True
            return
        self._usage = chunk.usage or self._usage
        stopped = self._reader.stop is not None
        if chunk.generated:
            if self._tokens >= self._max_tokens and not stopped:
                # The server ignores max_tokens: it is cut off where it should have ended.
                self._reason, self._live, self._at_end = "length", True, True
                return
            self._tokens += 1
            self._body.on_token()
        if stopped:
            self._on_tail(chunk)
        else:
            self._on_text(chunk)
        if chunk.last and not self._live:
            self._at_end = True

    def _on_text(self, chunk: wire.Chunk) -> None:
        """Takes the next part of the answer, which may end it."""
        if chunk.generated and self._reason is not None:
            self._continued = self._server.finishes_early = True
        self._has_text = self._has_text or bool(chunk.text)
        self._refusal += chunk.refusal
        text = self._reader.feed(chunk.text)
        if chunk.generated or text:
            self._events.append(Delta(text))
        if self._reader.stop is not None:
            self._on_tail(chunk, tokens=0)
        elif chunk.finish is not None:
            # It may not be the end: some servers give a finish reason in each event.
            self._reason = None
            self._reason = read_finish(self._server.url, chunk.finish, has_text=self._has_text)
            self._live = False
            if not self._continued:
                self._body.on_finish(sure=not chunk.generated)

    def _on_tail(self, chunk: wire.Chunk, tokens: int = 1) -> None:
        """Takes a chunk after a stop: the rest of the stop, or a finish."""
        self._tokens_after_stop -= tokens if chunk.generated else 0
        if chunk.finish is not None:
            self._live = False
            self._body.on_finish(sure=True)
        elif self._live and self._tokens_after_stop <= 0:
            self._at_end = True

    def _end(self) -> None:
        """Ends the answer with what was held back, if it has an end.

        Raises:
            TruncatedStream: The stream ended without a finish reason.
            EngineError: The model refused.
        """
        text = self._reader.flush()
        if text:
            self._events.append(Delta(text))
        if self._reader.stop is not None:
            self._finish("stop")
        elif self._reason is None:
            raise self._body.truncated()
        elif self._refusal:
            raise EngineError(f"the model refused: {shortened(self._refusal)}")
        else:
            self._finish(self._reason)

    def _finish(self, reason: FinishReason) -> None:
        usage = (self._usage or TokenUsage()).plausible(completion=self._tokens)
        self._events.append(Finish(reason, usage, self._reader.stop))
        self._over = True
