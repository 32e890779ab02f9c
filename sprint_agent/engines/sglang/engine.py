"""The engine of an SGLang server, through its native API: ids in, ids out."""

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
    error_code,
    open_client,
    part,
    read_error,
    read_object,
    refusal,
    unreached,
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
    """Generates on an SGLang server (`/generate`), with stops found here, on text and on ids.

    Start the server with `--incremental-streaming-output` for long answers: else each event repeats
    the whole answer so far. Both are understood. A `Sampling.seed` has an effect only where the
    server runs with `--enable-deterministic-inference`.
    """

    def __init__(
        self, base_url: str, *, tokenizer: str | os.PathLike[str] | Tokenizer | None = None
    ) -> None:
        """`base_url` is the server's address, such as `http://127.0.0.1:30000`.

        `tokenizer` is the model's folder, or its tokenizer; not needed where the folder that the
        server loaded is on this machine too.
        """
        self._url = base_url.rstrip("/")
        self._given = tokenizer
        self._server: _Server | None = None
        self._running: set[str] = set()

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer. EngineUnavailable while the engine is not entered."""
        return self._entered().tokenizer

    @property
    def context_length(self) -> int | None:
        """The most ids of prompt and answer. EngineUnavailable while the engine is not entered."""
        return self._entered().context_length

    @property
    def in_flight(self) -> int:
        """How many requests are open: being sent, read, or ended in the server."""
        return len(self._running)

    async def __aenter__(self) -> Self:
        """Asks the server about its model, and loads the tokenizer.

        Raises EngineUnavailable where no SGLang server answers, or no tokenizer can be loaded.
        """
        if self._server is not None:
            raise EngineUnavailable("the SGLang engine is entered already; use another one")
        client = open_client(self._url, _IDLE_SECONDS)
        try:
            self._server = await _learn(client, self._url, self._given)
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
        """Streams one answer; see the protocol.

        Entering raises RequestRefused or ContextTooLong for a request that cannot be run, and
        EngineUnavailable where the server is not reached. Reading raises TruncatedStream where the
        stream breaks off, RequestRefused where the server refuses only then, EngineUnavailable
        where it fails or is silent for 60 s, and EngineError for what is no answer.
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
            raise EngineUnavailable("the SGLang engine is not entered: async with SGLangEngine(…)")
        return self._server


@dataclass(frozen=True, slots=True)
class _Server:
    """A server that was reached, and what it said of itself."""

    client: httpx2.AsyncClient
    url: str
    tokenizer: Tokenizer
    context_length: int | None
    state: dict[str, object]
    """What it says of its settings."""

    @property
    def incremental(self) -> bool:
        """Whether an event holds only the ids that are new, not all so far."""
        return self.state.get("incremental_streaming_output") is True


class _Stream:
    """One request, from its sending to its end."""

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
        """Sends the request; returns when the server has begun to answer."""
        client = self._server.client
        sent = client.build_request("POST", "/generate", json=body)
        self._live = True
        try:
            response = await client.send(sent, stream=True)
            self._body = EventBody(response, self._server.url, _IDLE_SECONDS)
            if not response.is_success:
                await response.aread()
        except httpx2.HTTPError as error:
            raise unreached(self._server.url, error, _IDLE_SECONDS) from error
        if not response.is_success:
            said = read_error(response.text)
            raise self._refused(response.status_code, said, response.headers)

    async def close(self) -> None:
        """Ends the request in the server where it may still run, and lets the connection go."""
        # A finished body is read to its end, which lets the connection be used again.
        await part(self._abort if self._live else self._drain, self._release)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta | Finish:
        assert self._body is not None
        while not self._events:
            if self._over:
                raise StopAsyncIteration
            for data in await self._body.read():
                if not self._over:
                    self._take(data)
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

    def _take(self, data: str) -> None:
        """Takes one event: the answer so far."""
        url = self._server.url
        if data == "[DONE]":
            raise TruncatedStream(f"the server at {url} gave no finish reason")
        try:
            said = read_object(data)
            chunk = None if "error" in said else wire.read_chunk(said)
        except ValueError as error:
            raise EngineError(f"the server at {url} sent an unreadable event ({error})") from error
        if chunk is None:
            raise self._refused(error_code(said), said)
        # Behind a router the server's settings are not to be had: fewer ids than were sampled are new.
        new = self._server.incremental or len(chunk.ids) < chunk.usage.completion_tokens
        ids = chunk.ids if new else chunk.ids[self._seen :]
        self._seen += len(ids)
        if chunk.finish is not None:
            self._live = False
            self._end(ids, chunk.finish, chunk.usage)
        else:
            self._read(ids)
            if self._reader.stop is not None:
                # The server has not seen this stop: closing tells it to end.
                self._finish("stop", chunk.usage)

    def _end(self, ids: list[int], finish: dict[str, object], usage: TokenUsage) -> None:
        """Takes the last event, which says why the server stopped."""
        url, kind, matched = self._server.url, finish.get("type"), finish.get("matched")
        if kind == "abort":
            raise self._refused(finish.get("status_code"), finish)
        if kind not in ("stop", "length"):
            raise EngineError(f"the server at {url} ended for {kind!r}, which is not known here")
        if self._seen != usage.completion_tokens:
            raise EngineError(
                f"the server at {url} sent {self._seen} ids of {usage.completion_tokens} sampled"
            )
        if kind == "stop" and isinstance(matched, int) and ids and ids[-1] == matched:
            ids = ids[:-1]
        self._read(ids, last=True)
        if self._reader.stop is not None:
            self._finish("stop", usage)
        elif kind == "stop" and isinstance(matched, str):
            raise EngineError(
                f"the server at {url} stopped at {matched!r}, which the answer does not hold: "
                "pass the folder of the model that it serves as tokenizer="
            )
        else:
            self._finish("end" if kind == "stop" else "length", usage)

    def _read(self, ids: list[int], *, last: bool = False) -> None:
        try:
            pieces = [self._reader.feed(ids), self._reader.flush() if last else None]
        except Exception as error:
            raise EngineError(f"the tokenizer failed on a sampled id: {error}") from error
        self._events += [piece for piece in pieces if piece is not None]

    def _finish(self, reason: FinishReason, usage: TokenUsage) -> None:
        self._events.append(Finish(reason, usage, self._reader.stop))
        self._over = True

    def _refused(
        self, status: object, said: object, headers: Mapping[str, str] | None = None
    ) -> EngineError:
        error = refusal(self._server.url, status, said, headers)
        if isinstance(error, RequestRefused):
            # Never abort here: a refused duplicate's id is that of a request which runs.
            self._live = False
        return error


async def _learn(
    client: httpx2.AsyncClient, url: str, given: str | os.PathLike[str] | Tokenizer | None
) -> _Server:
    """Asks the server about its model."""
    model = await _get(client, url, "model_info")
    state = await _get(client, url, "server_info")
    if given is None:
        given = _local_folder(model, url)
    if isinstance(given, str | os.PathLike):
        tokenizer = await anyio.to_thread.run_sync(_load_tokenizer, Path(given))
    else:
        tokenizer = given
    # Prompts of max_req_input_len are refused: a few ids below the context, or what memory holds.
    lengths = (state.get("context_length"), state.get("max_req_input_len"))
    context = min((length for length in lengths if isinstance(length, int)), default=None)
    return _Server(client, url, tokenizer, context, state)


async def _get(client: httpx2.AsyncClient, url: str, name: str) -> dict[str, object]:
    """Asks for one of the server's descriptions, by its new name or the older one."""
    try:
        response = await client.get(f"/{name}")
        if response.status_code == 404:
            response = await client.get(f"/get_{name}")
    except httpx2.HTTPError as error:
        raise unreached(url, error, _IDLE_SECONDS) from error
    if not response.is_success:
        raise EngineUnavailable(
            f"the server at {url} answers {response.status_code} to /{name}: is it SGLang, and up?"
        )
    try:
        return read_object(response.text)
    except ValueError as error:
        raise EngineUnavailable(f"the server at {url} is not SGLang's") from error


def _local_folder(model: dict[str, object], url: str) -> Path:
    """The folder that the server's tokenizer came from. EngineUnavailable where it is not here."""
    for key in ("tokenizer_path", "model_path"):
        path = model.get(key)
        if isinstance(path, str) and path and Path(path).is_dir():
            return Path(path)
    raise EngineUnavailable(
        f"the server at {url} serves {model.get('model_path')}, which is no folder on this "
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
