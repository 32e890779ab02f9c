"""What the engines that talk to a server share: the client, the events of a stream, what went wrong."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import anyio
import httpx2

from sprint_agent import retry
from sprint_agent.engines.sse import SseDecoder
from sprint_agent.errors import EngineError, EngineUnavailable, RequestRefused, TruncatedStream

_CONNECT_SECONDS = 10.0

# uvicorn closes a connection that was idle for 5 s; reusing it at that moment would fail a request.
_KEEPALIVE_SECONDS = 2.0

_PARTING_SECONDS = 1.0
"""How long a reader that leaves may be held up, by each step."""

_MESSAGE_CHARACTERS = 300

_NOT_STALE = {"connection.connect_tcp.started", "http11.receive_response_headers.complete"}
"""What shows that a request that failed did not meet a closed connection: a new one, or an answer."""


class _Client(httpx2.AsyncClient):
    """Does not fall for a connection that the server closed while it was not in use.

    Servers may close one after any answer, and some do so without a word (llama.cpp's, behind a
    stream). A request that was just then sent on it has no answer, and is sent once more.
    """

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **settings: Any
    ) -> httpx2.Response:
        """Sends a request, again where a used connection turned out to be closed."""
        seen: set[str] = set()

        async def trace(name: str, info: object) -> None:
            seen.add(name)

        request.extensions = {**request.extensions, "trace": trace}
        try:
            return await super().send(request, stream=stream, **settings)
        except httpx2.RemoteProtocolError:
            if seen & _NOT_STALE:
                raise
        return await super().send(request, stream=stream, **settings)


def open_client(url: str, idle: float) -> httpx2.AsyncClient:
    """A client for one server, which is given up when it is silent for `idle` seconds.

    Raises EngineUnavailable where `url` is no address.
    """
    # Whoever runs the engine bounds its requests; an abort must never wait for a connection.
    limits = httpx2.Limits(
        max_connections=None, max_keepalive_connections=256, keepalive_expiry=_KEEPALIVE_SECONDS
    )
    timeout = httpx2.Timeout(idle, connect=_CONNECT_SECONDS, pool=None)
    try:
        return _Client(base_url=url, limits=limits, timeout=timeout)
    except httpx2.InvalidURL as error:
        raise EngineUnavailable(f"{url!r} is not an address: {error}") from error


class EventBody:
    """The events in the body of a response, as they come."""

    def __init__(self, response: httpx2.Response, url: str, idle: float) -> None:
        self._response = response
        self._url = url
        self._idle = idle
        self._chunks: AsyncGenerator[bytes, None] = response.aiter_bytes()
        self._sse = SseDecoder()

    async def read(self) -> list[str]:
        """The data of the events that the next bytes complete; they may complete none.

        Raises TruncatedStream where the body ends or breaks off, EngineUnavailable where it is
        silent for too long.
        """
        try:
            return self._sse.feed(await anext(self._chunks))
        except StopAsyncIteration:
            pass
        except httpx2.TimeoutException as error:
            raise unreached(self._url, error, self._idle) from error
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise TruncatedStream(
                f"the stream of the server at {self._url} broke off", transient=True
            ) from error
        raise TruncatedStream(
            f"the server at {self._url} ended the stream without a finish reason", transient=True
        )

    async def drain(self) -> None:
        """Reads to the end, which lets the connection be used again."""
        async for _ in self._chunks:
            pass

    async def close(self) -> None:
        """Lets the connection go; where the body has not ended, the server sees it close."""
        await self._chunks.aclose()
        await self._response.aclose()


async def part(*steps: Callable[[], Awaitable[None]]) -> None:
    """Leaves a stream, step by step, also where the reader was cancelled; no step holds it up."""
    for step in steps:
        with (
            anyio.move_on_after(_PARTING_SECONDS, shield=True),
            # A server that cannot be told any more notices the closed connection itself.
            contextlib.suppress(httpx2.HTTPError, httpx2.StreamError),
        ):
            await step()


def unreached(url: str, error: BaseException, idle: float) -> EngineUnavailable:
    """The error of a server that did not answer, or was silent for `idle` seconds."""
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return EngineUnavailable(
            f"no server answers at {url}: start it, or check the address", transient=True
        )
    if isinstance(error, httpx2.TimeoutException):
        return EngineUnavailable(f"the server at {url} was silent for {idle:g} s")
    return EngineUnavailable(
        f"cannot talk to the server at {url}: {error}",
        transient=isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError),
    )


def refusal(
    url: str, status: object, said: object, headers: Mapping[str, str] | None = None
) -> EngineError:
    """The error that an HTTP status (of a response, or in an event) and a server's words mean."""
    words = message(said)
    if isinstance(status, int) and retry.is_transient(status):
        what = "is too busy" if status == 429 else "failed"
        return EngineUnavailable(
            f"the server at {url} {what} ({status}): {words}",
            transient=True,
            retry_after=retry.read_retry_after(
                (headers or {}).get("retry-after"), datetime.now(UTC)
            ),
        )
    if isinstance(status, int) and 400 <= status < 500:
        return RequestRefused(f"the server at {url} refused the request: {words}")
    return EngineError(f"the server at {url} gave the request up: {words}")


def message(said: object) -> str:
    """A server's words in an error's body, on one line and not too long."""
    for key in ("error", "message", "detail"):
        if isinstance(said, dict):
            said = cast("dict[str, object]", said).get(key, cast("object", said))
    return " ".join(str(said).split())[:_MESSAGE_CHARACTERS] or "it did not say why"


def read_object(text: str) -> dict[str, object]:
    """A JSON object. ValueError where it is none."""
    try:
        said: object = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return as_object(said)


def as_object(said: object) -> dict[str, object]:
    """`said`, which is a JSON object. ValueError where it is none."""
    if not isinstance(said, dict):
        raise ValueError("not a JSON object")
    return cast("dict[str, object]", said)


def read_error(text: str) -> object:
    """What an error's body says, JSON or not."""
    try:
        return read_object(text)
    except ValueError:
        return text


def error_code(said: dict[str, object]) -> object:
    """The HTTP status in an event that holds an error; it is sent where the response's is 200."""
    error = said.get("error", said)
    return cast("dict[str, object]", error).get("code") if isinstance(error, dict) else None
