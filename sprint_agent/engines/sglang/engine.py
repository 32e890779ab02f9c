"""The engine for an SGLang server. It uses the server's native API: ids in, ids out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Self

import httpx2

from sprint_agent.engine import Delta, Finish, FinishReason, Request, Tokenizer, TokenUsage
from sprint_agent.engines.event_body import EventBody
from sprint_agent.engines.finish_reasons import read_finish
from sprint_agent.engines.http_client import close_stream, connection_error, read_error
from sprint_agent.engines.server_errors import ErrorReply, read_status, status_error
from sprint_agent.engines.sglang import wire
from sprint_agent.engines.sglang.server import Server, open_server
from sprint_agent.engines.stops import AnswerReader
from sprint_agent.errors import EngineError, EngineUnavailable, RequestRefused

_ABORTED = 503
"""The status of an abort that has none. It was not this client that aborted, so it may try again."""


class SGLangEngine:
    """Generates on an SGLang server (`/generate`). Stops are found on the client, in text and ids.

    Start the server with `--incremental-streaming-output` for long answers. Without it, each event
    repeats the whole answer so far. The engine understands both. A `Sampling.seed` has an effect only
    if the server runs with `--enable-deterministic-inference`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        tokenizer: str | os.PathLike[str] | Tokenizer | None = None,
        idle_seconds: float = 60.0,
    ) -> None:
        """Prepares an engine. Nothing is sent before it is entered.

        Args:
            base_url: The server's address, such as `http://127.0.0.1:30000`.
            tokenizer: The model's folder or its tokenizer. It is not needed if the folder that the
                server loaded is also on this machine.
            idle_seconds: How long no token may come before a request fails with EngineStalled. What
                only keeps the connection alive does not count. Allow for the time that a request waits
                in the server's queue.
        """
        self._url = base_url.rstrip("/")
        self._tokenizer = tokenizer
        self._idle = idle_seconds
        self._server: Server | None = None
        self._running: set[str] = set()

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer.

        Raises:
            EngineUnavailable: The engine is not entered.
        """
        return self._entered().tokenizer

    @property
    def context_length(self) -> int | None:
        """The most ids that a prompt and its answer may have together.

        Raises:
            EngineUnavailable: The engine is not entered.
        """
        return self._entered().context_length

    @property
    def in_flight(self) -> int:
        """The number of open requests."""
        return len(self._running)

    async def __aenter__(self) -> Self:
        """Asks the server about its model and loads the tokenizer.

        Raises:
            EngineUnavailable: No SGLang server answers, the tokenizer cannot be loaded, or the engine
                has already been entered.
        """
        if self._server is not None:
            raise EngineUnavailable("the SGLang engine has already been entered: use another one")
        self._server = await open_server(self._url, self._tokenizer, self._idle)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Sends the aborts that are under way, and closes the connections."""
        server, self._server = self._server, None
        if server is not None:
            await server.close()

    def generate(
        self, request: Request
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta | Finish]]:
        """Streams one answer, as `Engine.generate` does.

        Raises:
            RequestRefused: On entering: the request cannot be run. On reading: the server refused it
                only then.
            ContextTooLong: On entering: the prompt leaves no room for an answer.
            EngineUnavailable: On entering: the server cannot be reached. On reading: the server
                failed. EngineStalled if no token came for too long.
            TruncatedStream: On reading: the stream broke off.
            EngineError: On reading: the server sent something that is not an answer.
        """
        return self._generate(request)

    @asynccontextmanager
    async def _generate(self, request: Request) -> AsyncGenerator[_Stream]:
        server = self._entered()
        priority = wire.priority_of(request, server.state)
        body = wire.request_body(
            request, server.tokenizer.vocab_size, server.context_length, priority
        )
        if request.request_id in self._running:
            raise RequestRefused(f"request {request.request_id} is running already")
        self._running.add(request.request_id)
        stream = _Stream(server, request)
        try:
            await stream.open(body)
            yield stream
        finally:
            try:
                await stream.close()
            finally:
                self._running.discard(request.request_id)

    def _entered(self) -> Server:
        if self._server is None:
            raise EngineUnavailable(
                "the SGLang engine is not entered: use async with SGLangEngine(…)"
            )
        return self._server


class _Stream:
    """One request, from sending it to its end."""

    def __init__(self, server: Server, request: Request) -> None:
        self._server = server
        self._request = request
        self._reader = AnswerReader(server.tokenizer, request.stop)
        self._body: EventBody | None = None
        self._events: deque[Delta | Finish] = deque()
        self._ids: list[int] = []
        self._sampled = 0
        self._cached = 0
        # The last finish that the server gave, and the end id that it sampled there.
        self._finish: tuple[FinishReason, object] | None = None
        self._end_id: list[int] = []
        # Whether ids came after a finish. Then a finish alone does not end the answer.
        self._continued = False
        # Whether the server may be generating for this request.
        self._live = False
        self._at_end = False
        self._over = False

    async def open(self, body: dict[str, object]) -> None:
        """Sends the request. Returns when the server has begun to answer."""
        client, url = self._server.client, self._server.url
        sent = client.build_request("POST", "/generate", json=body)
        self._live = True
        try:
            response = await client.send(sent, stream=True)
            self._body = EventBody(response, url, self._server.idle)
            if not response.is_success:
                await response.aread()
        except (httpx2.HTTPError, RuntimeError) as error:
            raise connection_error(url, error, self._server.idle) from error
        if not response.is_success:
            error_body = read_error(response.text)
            raise self._failure(ErrorReply(response.status_code, error_body, response.headers))

    async def close(self) -> None:
        """Aborts the request on the server if it may still run, and releases the connection."""
        if self._live:
            self._server.aborts.send(self._request.request_id)
        # A finished body is read to its end, so that the connection can be reused.
        await close_stream(*(() if self._live else (self._drain,)), self._release)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta | Finish:
        while not self._events:
            if self._over:
                raise StopAsyncIteration
            await self._read()
        return self._events.popleft()

    async def _read(self) -> None:
        """Reads the next bytes. An error after the end of the answer does not matter."""
        assert self._body is not None
        try:
            events = await self._body.read()
        except ErrorReply as reply:
            if self._finish is None or self._continued:
                raise self._failure(reply) from reply
            events = None
        except EngineError:
            if self._finish is None or self._continued:
                raise
            events = None
        for event in events or ():
            if not self._at_end:
                self._on_event(event)
        if events is None or self._at_end:
            self._end()

    async def _drain(self) -> None:
        if self._body is not None:
            await self._body.drain()

    async def _release(self) -> None:
        if self._body is not None:
            await self._body.close()

    def _on_event(self, event: dict[str, object]) -> None:
        """Takes one event, which contains the answer so far."""
        assert self._body is not None
        try:
            chunk = wire.read_chunk(event)
        except ValueError as error:
            raise EngineError(
                f"the server at {self._server.url} sent an unreadable event ({error})"
            ) from error
        if chunk is None:
            return
        ids = self._new_ids(chunk)
        self._sampled = max(self._sampled, chunk.sampled or 0)
        self._cached = chunk.cached or self._cached
        if ids:
            self._body.on_token()
            self._continued = self._continued or self._finish is not None
            ids, self._end_id = [*self._end_id, *ids], []
            self._live = True
        excess = len(self._ids) - self._request.sampling.max_tokens
        if excess > 0:
            # The server ignores max_tokens: it is cut off where it should have ended.
            del self._ids[-excess:]
            self._sampled = len(self._ids)
            self._decode(ids[:-excess])
            self._finish = "length", None
            self._at_end = True
        elif chunk.finish is not None:
            self._on_finish(ids, chunk.finish)
        else:
            self._decode(ids)
            # The server has not found this stop. Closing the stream aborts the request there.
            self._at_end = self._reader.stop is not None

    def _new_ids(self, chunk: wire.Chunk) -> list[int]:
        """Returns the ids of an event that are new. It contains only these, or all ids so far."""
        seen, ids = len(self._ids), chunk.ids
        if self._server.incremental:
            repeats = False
        elif chunk.sampled is not None and chunk.sampled >= len(ids):
            # A router hides the server's settings. But if there are fewer ids than were sampled, they
            # are the new ones.
            repeats = len(ids) == chunk.sampled
        else:
            repeats = ids[:seen] == self._ids
        new = ids[seen:] if repeats else ids
        self._ids += new
        return new

    def _on_finish(self, ids: list[int], finish: dict[str, object]) -> None:
        """Takes a finish. It is not the end yet: more ids may follow. The last one counts."""
        assert self._body is not None
        url, kind, matched = self._server.url, str(finish.get("type")), finish.get("matched")
        self._live = False
        if kind == "abort":
            self._finish = None
            raise self._failure(ErrorReply(read_status(finish) or _ABORTED, finish))
        if isinstance(matched, int) and ids and ids[-1] == matched:
            ids, self._end_id = ids[:-1], [matched]
        self._decode(ids)
        has_text = len(self._ids) > len(self._end_id)
        reason = read_finish(url, kind, has_text=has_text)
        self._finish = reason, matched
        if not self._continued:
            self._body.on_finish(sure=not ids)

    def _end(self) -> None:
        """Ends the answer with what was held back, if it has an end."""
        assert self._body is not None
        url, seen = self._server.url, len(self._ids)
        if self._finish is None and self._reader.stop is None:
            raise self._body.truncated()
        self._decode([], last=True)
        reason, matched = self._finish or ("stop", None)
        if self._reader.stop is not None:
            reason = "stop"
        elif seen < self._sampled:
            raise EngineError(f"the server at {url} sampled {self._sampled} ids but sent {seen}")
        elif reason == "end" and isinstance(matched, str):
            raise EngineError(
                f"the server at {url} stopped at {matched!r}, but the answer does not contain it: "
                "pass the folder of the model that the server runs as tokenizer="
            )
        usage = TokenUsage(len(self._request.prompt), self._sampled, self._cached)
        usage = usage.plausible(completion=seen)
        self._events.append(Finish(reason, usage, self._reader.stop))
        self._over = True

    def _decode(self, ids: list[int], *, last: bool = False) -> None:
        try:
            pieces = [self._reader.feed(ids), self._reader.flush() if last else None]
        except Exception as error:
            raise EngineError(f"the tokenizer failed on a sampled id: {error}") from error
        self._events += [piece for piece in pieces if piece is not None]

    def _failure(self, reply: ErrorReply) -> EngineError:
        error = status_error(self._server.url, reply.status, reply.body, reply.headers)
        if isinstance(error, RequestRefused):
            # Never abort here: the id of a refused duplicate belongs to a request that is running.
            self._live = False
        return error
