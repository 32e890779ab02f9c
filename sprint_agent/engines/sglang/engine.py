"""The engine for an SGLang server. It uses the server's native API: ids in, ids out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread
import httpx2

from sprint_agent.engine import Delta, Finish, FinishReason, Request, Tokenizer, TokenUsage
from sprint_agent.engines.http_client import (
    EventBody,
    close_stream,
    connection_error,
    error_code,
    open_client,
    read_error,
    read_object,
    status_error,
)
from sprint_agent.engines.sglang import wire
from sprint_agent.engines.stops import AnswerReader
from sprint_agent.errors import (
    EngineError,
    EngineUnavailable,
    RequestRefused,
    TruncatedStream,
)
from sprint_agent.tokenizer import FileTokenizer

_IDLE_SECONDS = 60.0


class SGLangEngine:
    """Generates on an SGLang server (`/generate`). Stops are found on the client, in text and ids.

    Start the server with `--incremental-streaming-output` for long answers. Without it, each event
    repeats the whole answer so far. The engine understands both. A `Sampling.seed` has an effect only
    if the server runs with `--enable-deterministic-inference`.
    """

    def __init__(
        self, base_url: str, *, tokenizer: str | os.PathLike[str] | Tokenizer | None = None
    ) -> None:
        """Prepares an engine. Nothing is sent before it is entered.

        Args:
            base_url: The server's address, such as `http://127.0.0.1:30000`.
            tokenizer: The model's folder or its tokenizer. It is not needed if the folder that the
                server loaded is also on this machine.
        """
        self._url = base_url.rstrip("/")
        self._tokenizer = tokenizer
        self._server: _Server | None = None
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
        """The number of requests that are being sent, read, or aborted on the server."""
        return len(self._running)

    async def __aenter__(self) -> Self:
        """Asks the server about its model and loads the tokenizer.

        Raises:
            EngineUnavailable: No SGLang server answers, the tokenizer cannot be loaded, or the engine
                has already been entered.
        """
        if self._server is not None:
            raise EngineUnavailable("the SGLang engine has already been entered: use another one")
        client = open_client(self._url, _IDLE_SECONDS)
        try:
            self._server = await _connect(client, self._url, self._tokenizer)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await client.aclose()
            raise
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
            with anyio.CancelScope(shield=True):
                await server.client.aclose()

    def generate(
        self, request: Request
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta | Finish]]:
        """Streams one answer, as `Engine.generate` does.

        Raises:
            RequestRefused: On entering: the request cannot be run. On reading: the server refused it
                only then.
            ContextTooLong: On entering: the prompt leaves no room for an answer.
            EngineUnavailable: On entering: the server cannot be reached. On reading: the server
                failed or was silent for 60 s.
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

    def _entered(self) -> _Server:
        if self._server is None:
            raise EngineUnavailable(
                "the SGLang engine is not entered: use async with SGLangEngine(…)"
            )
        return self._server


@dataclass(frozen=True, slots=True)
class _Server:
    """A server that was reached, and how it described itself."""

    client: httpx2.AsyncClient
    url: str
    tokenizer: Tokenizer
    context_length: int | None
    state: dict[str, object]
    """The settings that it reports."""

    @property
    def incremental(self) -> bool:
        """Whether an event contains only the new ids, and not all ids so far."""
        return self.state.get("incremental_streaming_output") is True


class _Stream:
    """One request, from sending it to its end."""

    def __init__(self, server: _Server, request: Request) -> None:
        self._server = server
        self._request_id = request.request_id
        self._reader = AnswerReader(server.tokenizer, request.stop)
        self._body: EventBody | None = None
        self._events: deque[Delta | Finish] = deque()
        self._seen = 0
        # Whether the server may be generating for this request.
        self._live = False
        self._over = False

    async def open(self, body: dict[str, object]) -> None:
        """Sends the request. Returns when the server has begun to answer."""
        client = self._server.client
        sent = client.build_request("POST", "/generate", json=body)
        self._live = True
        try:
            response = await client.send(sent, stream=True)
            self._body = EventBody(response, self._server.url, _IDLE_SECONDS)
            if not response.is_success:
                await response.aread()
        except httpx2.HTTPError as error:
            raise connection_error(self._server.url, error, _IDLE_SECONDS) from error
        if not response.is_success:
            error_body = read_error(response.text)
            raise self._status_error(response.status_code, error_body, response.headers)

    async def close(self) -> None:
        """Aborts the request on the server if it may still run, and releases the connection."""
        # A finished body is read to its end, so that the connection can be reused.
        await close_stream(self._abort if self._live else self._drain, self._release)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta | Finish:
        assert self._body is not None
        while not self._events:
            if self._over:
                raise StopAsyncIteration
            for data in await self._body.read():
                if not self._over:
                    self._on_event(data)
        return self._events.popleft()

    async def _abort(self) -> None:
        client = self._server.client
        if not client.is_closed:
            await client.post("/abort_request", json={"rid": self._request_id})

    async def _drain(self) -> None:
        if self._body is not None:
            await self._body.drain()

    async def _release(self) -> None:
        if self._body is not None:
            await self._body.close()

    def _on_event(self, data: str) -> None:
        """Takes one event, which contains the answer so far."""
        url = self._server.url
        if data == "[DONE]":
            raise TruncatedStream(f"the server at {url} gave no finish reason")
        try:
            event = read_object(data)
            chunk = None if "error" in event else wire.read_chunk(event)
        except ValueError as error:
            raise EngineError(f"the server at {url} sent an unreadable event ({error})") from error
        if chunk is None:
            raise self._status_error(error_code(event), event)
        # A router hides the server's settings. But if there are fewer ids than were sampled, they are
        # the new ones.
        new = self._server.incremental or len(chunk.ids) < chunk.usage.completion_tokens
        ids = chunk.ids if new else chunk.ids[self._seen :]
        self._seen += len(ids)
        if chunk.finish is not None:
            self._live = False
            self._on_end(ids, chunk.finish, chunk.usage)
        else:
            self._decode(ids)
            if self._reader.stop is not None:
                # The server has not found this stop. Closing the stream aborts the request there.
                self._finish("stop", chunk.usage)

    def _on_end(self, ids: list[int], finish: dict[str, object], usage: TokenUsage) -> None:
        """Takes the last event, which says why the server stopped."""
        url, kind, matched = self._server.url, finish.get("type"), finish.get("matched")
        if kind == "abort":
            raise self._status_error(finish.get("status_code"), finish)
        if kind not in ("stop", "length"):
            raise EngineError(
                f"the server at {url} gave the finish reason {kind!r}, which this engine does not know"
            )
        if self._seen != usage.completion_tokens:
            raise EngineError(
                f"the server at {url} sampled {usage.completion_tokens} ids but sent {self._seen}"
            )
        if kind == "stop" and isinstance(matched, int) and ids and ids[-1] == matched:
            ids = ids[:-1]
        self._decode(ids, last=True)
        if self._reader.stop is not None:
            self._finish("stop", usage)
        elif kind == "stop" and isinstance(matched, str):
            raise EngineError(
                f"the server at {url} stopped at {matched!r}, but the answer does not contain it: "
                "pass the folder of the model that the server runs as tokenizer="
            )
        else:
            self._finish("end" if kind == "stop" else "length", usage)

    def _decode(self, ids: list[int], *, last: bool = False) -> None:
        try:
            pieces = [self._reader.feed(ids), self._reader.flush() if last else None]
        except Exception as error:
            raise EngineError(f"the tokenizer failed on a sampled id: {error}") from error
        self._events += [piece for piece in pieces if piece is not None]

    def _finish(self, reason: FinishReason, usage: TokenUsage) -> None:
        self._events.append(Finish(reason, usage, self._reader.stop))
        self._over = True

    def _status_error(
        self, status: object, body: object, headers: Mapping[str, str] | None = None
    ) -> EngineError:
        error = status_error(self._server.url, status, body, headers)
        if isinstance(error, RequestRefused):
            # Never abort here: the id of a refused duplicate belongs to a request that is running.
            self._live = False
        return error


async def _connect(
    client: httpx2.AsyncClient, url: str, source: str | os.PathLike[str] | Tokenizer | None
) -> _Server:
    """Asks the server about its model and loads the tokenizer from `source` or the server's folder."""
    model = await _get(client, url, "model_info")
    state = await _get(client, url, "server_info")
    if source is None:
        source = _local_folder(model, url)
    if isinstance(source, str | os.PathLike):
        tokenizer = await anyio.to_thread.run_sync(_load_tokenizer, Path(source))
    else:
        tokenizer = source
    # Prompts with max_req_input_len ids are refused. That is a few ids less than the context, or the
    # number that fits into memory.
    lengths = (state.get("context_length"), state.get("max_req_input_len"))
    context = min((length for length in lengths if isinstance(length, int)), default=None)
    return _Server(client, url, tokenizer, context, state)


async def _get(client: httpx2.AsyncClient, url: str, name: str) -> dict[str, object]:
    """Gets one of the server's descriptions of itself, by its new name or its older one."""
    try:
        response = await client.get(f"/{name}")
        if response.status_code == 404:
            response = await client.get(f"/get_{name}")
    except httpx2.HTTPError as error:
        raise connection_error(url, error, _IDLE_SECONDS) from error
    if not response.is_success:
        raise EngineUnavailable(
            f"the server at {url} answered {response.status_code} to /{name}: check that it is an "
            "SGLang server and that it has started"
        )
    try:
        return read_object(response.text)
    except ValueError as error:
        raise EngineUnavailable(
            f"the server at {url} is not an SGLang server: check the address"
        ) from error


def _local_folder(model: dict[str, object], url: str) -> Path:
    """Returns the folder that the server's tokenizer came from.

    Raises:
        EngineUnavailable: The folder is not on this machine.
    """
    for key in ("tokenizer_path", "model_path"):
        path = model.get(key)
        if isinstance(path, str) and path and Path(path).is_dir():
            return Path(path)
    raise EngineUnavailable(
        f"the server at {url} serves {model.get('model_path')}, which is not a folder on this "
        "machine: pass the model folder as tokenizer="
    )


def _load_tokenizer(folder: Path) -> Tokenizer:
    try:
        return FileTokenizer.load(folder)
    # The tokenizers library raises plain Exception for a file that it cannot read.
    except Exception as error:
        raise EngineUnavailable(
            f"cannot load the tokenizer in {folder} ({error}): pass a folder with tokenizer.json"
        ) from error
