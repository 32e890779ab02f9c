"""What the engines for servers share: the HTTP client, the events of a stream, and the errors."""

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

# uvicorn closes a connection that was idle for 5 s. A request that reuses it at that moment fails.
_KEEPALIVE_SECONDS = 2.0

_CLOSE_SECONDS = 1.0
"""How long each step of closing a stream may delay a reader that leaves."""

_MESSAGE_CHARACTERS = 300

_NOT_STALE = {"connection.connect_tcp.started", "http11.receive_response_headers.complete"}
"""Trace events which show that a failed request did not meet a closed connection: it opened a new
connection, or it received an answer."""


class _Client(httpx2.AsyncClient):
    """Sends a request again if its connection was closed by the server while it was not in use.

    A server may close a connection after any answer, and some do so without telling the client
    (llama.cpp's server, after a stream). A request that is sent at that moment gets no answer, and is
    sent once more.
    """

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **settings: Any
    ) -> httpx2.Response:
        """Sends a request, and once more if a reused connection turned out to be closed."""
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
    """Returns a client for one server, which times out after `idle` seconds of silence.

    Raises:
        EngineUnavailable: `url` is not an address.
    """
    # The caller limits the number of requests. An abort must never wait for a connection.
    limits = httpx2.Limits(
        max_connections=None, max_keepalive_connections=256, keepalive_expiry=_KEEPALIVE_SECONDS
    )
    timeout = httpx2.Timeout(idle, connect=_CONNECT_SECONDS, pool=None)
    try:
        return _Client(base_url=url, limits=limits, timeout=timeout)
    except httpx2.InvalidURL as error:
        raise EngineUnavailable(f"{url!r} is not an address: {error}") from error


class EventBody:
    """Reads the server-sent events in the body of a response as they arrive."""

    def __init__(self, response: httpx2.Response, url: str, idle: float) -> None:
        self._response = response
        self._url = url
        self._idle = idle
        self._chunks: AsyncGenerator[bytes, None] = response.aiter_bytes()
        self._sse = SseDecoder()

    async def read(self) -> list[str]:
        """Returns the data of the events that the next bytes complete, which may be none.

        Raises:
            TruncatedStream: The body ended or broke off.
            EngineUnavailable: The server was silent for too long.
        """
        try:
            return self._sse.feed(await anext(self._chunks))
        except StopAsyncIteration:
            pass
        except httpx2.TimeoutException as error:
            raise connection_error(self._url, error, self._idle) from error
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise TruncatedStream(
                f"the stream of the server at {self._url} broke off", transient=True
            ) from error
        raise TruncatedStream(
            f"the server at {self._url} ended the stream without a finish reason", transient=True
        )

    async def drain(self) -> None:
        """Reads to the end of the body, so that the connection can be reused."""
        async for _ in self._chunks:
            pass

    async def close(self) -> None:
        """Releases the connection. If the body has not ended, the server sees it close."""
        await self._chunks.aclose()
        await self._response.aclose()


async def close_stream(*steps: Callable[[], Awaitable[None]]) -> None:
    """Runs the steps that close a stream, each with a time limit, even after a cancellation."""
    for step in steps:
        with (
            anyio.move_on_after(_CLOSE_SECONDS, shield=True),
            # A server that can no longer be told notices the closed connection itself.
            contextlib.suppress(httpx2.HTTPError, httpx2.StreamError),
        ):
            await step()


def connection_error(url: str, error: BaseException, idle: float) -> EngineUnavailable:
    """Returns the error for a server that did not answer, or was silent for `idle` seconds."""
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


def status_error(
    url: str, status: object, body: object, headers: Mapping[str, str] | None = None
) -> EngineError:
    """Returns the error for an HTTP status (of a response, or inside an event) and its body."""
    reason = error_message(body)
    if isinstance(status, int) and retry.is_transient(status):
        problem = "is too busy" if status == 429 else "failed"
        return EngineUnavailable(
            f"the server at {url} {problem} ({status}): {reason}",
            transient=True,
            retry_after=retry.read_retry_after(
                (headers or {}).get("retry-after"), datetime.now(UTC)
            ),
        )
    if isinstance(status, int) and 400 <= status < 500:
        return RequestRefused(f"the server at {url} refused the request: {reason}")
    return EngineError(f"the server at {url} aborted the request: {reason}")


def error_message(body: object) -> str:
    """Returns the message in an error's body, on one line and shortened."""
    for key in ("error", "message", "detail"):
        if isinstance(body, dict):
            body = cast("dict[str, object]", body).get(key, cast("object", body))
    return " ".join(str(body).split())[:_MESSAGE_CHARACTERS] or "it gave no reason"


def read_object(text: str) -> dict[str, object]:
    """Parses a JSON object.

    Raises:
        ValueError: `text` is not a JSON object.
    """
    try:
        value: object = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return as_object(value)


def as_object(value: object) -> dict[str, object]:
    """Returns a parsed JSON value as an object.

    Raises:
        ValueError: `value` is not a JSON object.
    """
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return cast("dict[str, object]", value)


def read_error(text: str) -> object:
    """Returns an error's body: the object if it is JSON, else the text."""
    try:
        return read_object(text)
    except ValueError:
        return text


def error_code(event: dict[str, object]) -> object:
    """Returns the HTTP status in an event that contains an error. The response's own is then 200."""
    error = event.get("error", event)
    return cast("dict[str, object]", error).get("code") if isinstance(error, dict) else None
