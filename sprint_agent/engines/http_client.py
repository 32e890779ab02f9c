"""The HTTP client of the engines for servers, and the errors of connections."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.request import getproxies

import anyio
import httpx2

from sprint_agent.engines.addresses import public_url
from sprint_agent.engines.connections import SplitPool
from sprint_agent.errors import EngineStalled, EngineUnavailable

_LOGGER = logging.getLogger("sprint_agent.engines")

_CONNECT_SECONDS = 10.0

# uvicorn closes a connection that was idle for 5 s. A request that reuses it at that moment fails.
_KEEPALIVE_SECONDS = 2.0

_CLOSE_SECONDS = 1.0
"""How long each step of closing a stream may delay a reader that leaves."""

_NOT_STALE = {"connection.connect_tcp.started", "http11.receive_response_headers.complete"}
"""Trace events which show that a failed request did not meet a closed connection: it opened a new
connection, or it received an answer."""

_NOT_WRITTEN = {"http11.send_request_headers.failed", "http11.send_request_body.failed"}
"""Trace events which show that the server did not get the whole request."""

_PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")


class _Client(httpx2.AsyncClient):
    """Sends a request again if its connection was closed by the server while it was not in use.

    A server may close a connection after any answer, and some do so without telling the client
    (llama.cpp's server, after a stream). A request that is sent at that moment gets no answer, and is
    sent once more. Each such failure takes a closed connection out of the pool, so at last a new one is
    opened, whose failure counts.

    A connection that was reset counts only if the request could not be written: otherwise the server
    may have begun to work on it.
    """

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **settings: Any
    ) -> httpx2.Response:
        """Sends a request, and again as long as a reused connection turned out to be closed."""
        while True:
            seen: set[str] = set()

            async def trace(name: str, info: object, seen: set[str] = seen) -> None:
                seen.add(name)

            request.extensions = {**request.extensions, "trace": trace}
            try:
                return await super().send(request, stream=stream, **settings)
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError) as error:
                unread = isinstance(error, httpx2.RemoteProtocolError) or seen & _NOT_WRITTEN
                if not unread or seen & _NOT_STALE or self.is_closed:
                    raise


def open_client(url: str, idle: float) -> httpx2.AsyncClient:
    """Returns a client for one server, which times out after `idle` seconds of silence.

    Raises:
        EngineUnavailable: `url` is not an address, or an environment variable for proxies or
            certificates cannot be used.
    """
    # The caller limits the number of requests: none of them waits for a connection.
    limits = httpx2.Limits(max_connections=None, keepalive_expiry=_KEEPALIVE_SECONDS)
    timeout = httpx2.Timeout(idle, connect=_CONNECT_SECONDS, pool=None)
    check_address(url)
    try:
        certificates = httpx2.create_ssl_context()
        # The library finds out itself which proxy an address needs, if it is given no transport.
        pools = None if getproxies() else SplitPool(certificates, _KEEPALIVE_SECONDS)
        return _Client(
            base_url=url, limits=limits, timeout=timeout, verify=certificates, transport=pools
        )
    except (httpx2.InvalidURL, ValueError, ImportError, OSError) as error:
        raise _environment_error(error) from error


def check_address(url: str) -> None:
    """Raises EngineUnavailable if `url` is not an address."""
    try:
        httpx2.URL(url)
    except httpx2.InvalidURL as error:
        shown = public_url(url)
        if shown != url:
            # The parser's message may quote a part of the password.
            raise EngineUnavailable(f"{shown!r} is not an address") from None
        raise EngineUnavailable(f"{url!r} is not an address: {error}") from error


def _environment_error(error: Exception) -> EngineUnavailable:
    """Returns the error for a client that cannot be created because of an environment variable."""
    names = _CERTIFICATES if isinstance(error, OSError) else _PROXIES
    given = {name: os.environ.get(name) or os.environ.get(name.lower(), "") for name in names}
    found = [name for name, value in given.items() if value and not _is_usable(name, value)]
    # The proxy's address may contain a password, so its value is not shown.
    variables = " or ".join(found) or "for the system's proxy"
    cause = str(error) if isinstance(error, ImportError | OSError) else "it is not a usable address"
    return EngineUnavailable(
        f"the environment variable {variables} cannot be used ({cause}): correct it or unset it"
    )


def _is_usable(name: str, value: str) -> bool:
    if name in _CERTIFICATES or value.startswith("socks"):
        return False
    try:
        httpx2.Proxy(value if "://" in value else f"http://{value}")
    except (httpx2.InvalidURL, ValueError):
        return False
    return True


async def close_stream(*steps: Callable[[], Awaitable[None]]) -> None:
    """Runs the steps that close a stream, each with a time limit, even after a cancellation.

    What fails there is only logged: the reader has left, and why it left counts more.
    """
    for step in steps:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            try:
                await step()
            except Exception as error:
                # A server that can no longer be told notices the closed connection itself.
                _LOGGER.debug("closing a stream failed: %s", error_text(error))


def connection_error(url: str, error: BaseException, idle: float) -> EngineUnavailable:
    """Returns the error for a server that did not answer, or was silent for `idle` seconds."""
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return EngineUnavailable(
            f"no server answers at {url}: start it, or check the address", transient=True
        )
    if isinstance(error, httpx2.TimeoutException):
        return EngineStalled(f"the server at {url} was silent for {idle:g} s")
    return EngineUnavailable(
        f"cannot talk to the server at {url}: {error_text(error)}",
        transient=isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError),
    )


def error_text(error: BaseException) -> str:
    """Returns what an exception says, or the name of its class if it says nothing."""
    return str(error).strip() or type(error).__name__


def read_object(text: str) -> dict[str, object]:
    """Parses a JSON object.

    Raises:
        ValueError: `text` is not a JSON object.
    """
    return as_object(read_json(text))


def read_json(text: str) -> object:
    """Parses JSON.

    Raises:
        ValueError: `text` is not JSON.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def as_object(value: object) -> dict[str, object]:
    """Returns a parsed JSON value as an object.

    Raises:
        ValueError: `value` is not a JSON object.
    """
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return cast("dict[str, object]", value)


def read_error(text: str) -> object:
    """Returns an error's body: the value if it is JSON, else the text."""
    try:
        return read_json(text)
    except ValueError:
        return text
