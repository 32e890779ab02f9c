"""A web service as an executor: the application defines the request, the prompt is part of it.

    HttpExecutor("weather", "Tells a city's weather.", "https://wttr.example/{prompt}?format=3")

Needs the extra `http`.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

import anyio

from sprint_agent.errors import ExecutorError, PromptError
from sprint_agent.executors.charsets import charset_of
from sprint_agent.executors.http_paths import check_path_prompt
from sprint_agent.executors.http_secrets import (
    check_headers,
    masked,
    public_url,
    reveals,
    secrets_of,
    without_user,
)
from sprint_agent.executors.json_prompts import unfenced
from sprint_agent.extras import install_hint
from sprint_agent.task import RESULT_CHARACTERS, JsonSchema, Task

try:
    import httpx2
except ImportError as _error:
    raise ImportError(f"the HTTP executor needs httpx2: {install_hint('http')}") from _error

PLACEHOLDER = "{prompt}"
"""Marks where the prompt goes in the path or the query of a URL."""

_CONTENT_TYPES = {"text": "text/plain; charset=utf-8", "json": "application/json"}
_ENVIRONMENT = frozenset(
    {"ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}
)
"""The variables that a client reads, in capitals."""
_BAD_REQUEST = frozenset({400, 404, 409, 413, 414, 422})
"""Statuses that blame the request: another prompt may succeed, the same prompt will not."""
_EXCERPT_CHARACTERS = 200
_CLOSE_SECONDS = 1.0
"""How long closing a response may take after a cancellation."""


@dataclass(frozen=True, slots=True)
class HttpExecutor:
    """Sends its prompt to a web service and returns the text of the response.

    The prompt goes either into the URL or into the body. Redirects never lead from https to http.

    Raises:
        ValueError: `url`, `method` and `body` contradict each other, or a bound is not positive.
    """

    name: str
    description: str
    url: str
    """The URL of the service. The prompt replaces `{prompt}` in its path or query.

    A key belongs into `headers`: the client writes URLs to its log, at the level INFO.

    The prompt is percent-encoded. In the path it is part of one segment: slashes, percent-escapes
    and control characters are refused, and so are segments that are empty or consist of dots.
    """
    method: Literal["GET", "POST", "PUT", "PATCH"] = "GET"
    body: Literal["text", "json"] | None = None
    """The type of the body if the prompt is the body: plain text or JSON."""
    schema: JsonSchema | None = None
    """The JSON schema of the body, for planners that were not trained to know it."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Headers that are sent unchanged, and only to the host of the URL.

    Their values, like a user and a password in the URL, are kept out of results, errors and logs.
    """
    seconds: float = 30.0
    """The most seconds for the whole exchange."""
    size: int = 256 * 1024
    """The most bytes of the response that are read. The rest is left out."""
    redirects: int = 0
    """How many redirects of a GET are followed, to the host of the URL or one of `hosts`."""
    hosts: frozenset[str] = frozenset()
    """Other hosts that a redirect may lead to: "api.example.org", "api.example.org:8080"."""
    max_characters: int = RESULT_CHARACTERS
    """How many characters of the response the planner gets. The rest is left out."""

    def __post_init__(self) -> None:
        parts, url = urlsplit(self.url), public_url(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not the URL of a web service: begin with https://")
        if PLACEHOLDER in parts.netloc or PLACEHOLDER in parts.fragment:
            raise ValueError(f"{PLACEHOLDER} is only allowed in the path or query of {url!r}")
        if (PLACEHOLDER in self.url) == (self.body is not None):
            raise ValueError(
                f"{self.name}: use either {PLACEHOLDER} in url or body= for the prompt"
            )
        if self.method == "GET" and self.body is not None:
            raise ValueError(f"{self.name}: a GET has no body: use method='POST'")
        if self.seconds <= 0 or self.size <= 0 or self.max_characters <= 0:
            raise ValueError(f"{self.name}: seconds, size and max_characters must be positive")
        if self.redirects < 0:
            raise ValueError(f"{self.name}: redirects must not be negative")
        check_headers(self.headers, self.name)

    def __repr__(self) -> str:
        """Returns the name and the URL, without secrets."""
        return f"HttpExecutor(name={self.name!r}, url={public_url(self.url)!r})"

    async def execute(self, task: Task) -> str:
        """Returns the response of the service. The connection is closed in every case.

        Raises:
            ExecutorError: the service cannot be reached, takes too long or reports an error.
            PromptError: the status of the response blames the request.
        """
        host, secrets = urlsplit(self.url).hostname, secrets_of(self.url, self.headers)
        try:
            with anyio.move_on_after(self.seconds):
                return await self._exchange(self._request(task.prompt), secrets)
            raise ExecutorError(f"{host} took longer than {self.seconds:g} s")
        except Exception as error:
            if isinstance(error, ExecutorError):
                failure = error
            else:
                # Not only the client's own: below it are sockets, with a proxy's port for example.
                failure = ExecutorError(f"the request to {host} failed: {error!r}")
            if not reveals(error, secrets):
                raise failure from (error.__cause__ if failure is error else error)
            kind = PromptError if isinstance(failure, PromptError) else ExecutorError
            failure = kind(masked(str(failure), secrets))
        # Outside of the handler: the error that reveals a secret must not stay attached.
        raise failure

    def _request(self, prompt: str) -> httpx2.Request:
        # Decompressing a small response could exceed every bound in one step.
        headers = {"accept-encoding": "identity", **_authorization(self.url)}
        if self.body is None:
            try:
                url = httpx2.URL(self._filled(prompt))
            except httpx2.InvalidURL as error:
                raise PromptError(f"the prompt cannot be part of a URL: {error}") from error
            return httpx2.Request(self.method, url, headers={**headers, **self.headers})
        if self.body == "json":
            prompt = _checked_json(unfenced(prompt))
        headers["content-type"] = _CONTENT_TYPES[self.body]
        content = prompt.encode("utf-8", "replace")
        merged = {**headers, **self.headers}
        url = without_user(self.url)
        return httpx2.Request(self.method, url, headers=merged, content=content)

    def _filled(self, prompt: str) -> str:
        path = urlsplit(self.url).path
        if PLACEHOLDER in path:
            check_path_prompt(prompt, path, PLACEHOLDER)
        return without_user(self.url).replace(PLACEHOLDER, quote(prompt, safe="", errors="replace"))

    async def _exchange(self, request: httpx2.Request, secrets: Sequence[str]) -> str:
        async with _client() as client:
            for _ in range(self.redirects + 1):
                async with _sent(client, request) as response:
                    following = response.next_request if self.method == "GET" else None
                    if following is None or not self.redirects:
                        return await self._read(response, secrets)
                request = self._redirected(request, following)
        raise ExecutorError(f"{request.url.host} redirected more than {self.redirects} times")

    def _redirected(self, request: httpx2.Request, following: httpx2.Request) -> httpx2.Request:
        first, source, target = httpx2.URL(self.url), request.url, following.url
        if _host(target) not in {_host(first), *self.hosts}:
            raise ExecutorError(
                f"{source.host} redirected to {_host(target)}, which is not in hosts"
            )
        if (source.scheme, target.scheme) == ("https", "http"):
            raise ExecutorError(f"{source.host} redirected from https to http: that is not allowed")
        if (first.scheme, _host(first)) != (target.scheme, _host(target)):
            # The headers may contain secrets that are meant for the first host only.
            for name in (*self.headers, "authorization"):
                following.headers.pop(name, None)
        return following

    async def _read(self, response: httpx2.Response, secrets: Sequence[str]) -> str:
        host, status = response.request.url.host, response.status_code
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ExecutorError(f"{host} sent a compressed response, though none was accepted")
        data = b""
        async for chunk in response.aiter_bytes():
            data += chunk
            if len(data) > self.size:
                break
        text = data[: self.size].decode(charset_of(response.charset_encoding), "replace")
        # Some services repeat in their answer what they were sent.
        text = masked(text, secrets, cut=len(data) > self.size)
        if not response.is_success:
            kind = PromptError if status in _BAD_REQUEST else ExecutorError
            raise kind(f"{host} responded with {status}: {text[:_EXCERPT_CHARACTERS]}")
        return text if len(data) <= self.size else f"{text}\n[more left out]"


@asynccontextmanager
async def _sent(
    client: httpx2.AsyncClient, request: httpx2.Request
) -> AsyncGenerator[httpx2.Response]:
    response = await client.send(request, stream=True)
    try:
        yield response
    finally:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await response.aclose()


def _host(url: httpx2.URL) -> str:
    """Returns the host, and the port if it is not the default of the scheme."""
    return url.netloc.decode("ascii")


def _client() -> httpx2.AsyncClient:
    """Returns a client that uses the proxies and certificates of the environment.

    Raises:
        ExecutorError: the environment names a proxy or a certificate that cannot be used.
    """
    try:
        return httpx2.AsyncClient(verify=_ssl_context(), timeout=None)
    except (ValueError, ImportError, OSError, httpx2.InvalidURL) as error:
        named = [name for name in os.environ if name.upper() in _ENVIRONMENT]
        # Not the values: a proxy may have a password.
        raise ExecutorError(
            f"the environment variables {', '.join(sorted(named)) or 'of proxies'} name a proxy or "
            f"certificates that cannot be used ({type(error).__name__}): correct or unset them"
        ) from None


@cache
def _ssl_context() -> ssl.SSLContext:
    # Reading the certificates takes longer than many a request.
    return httpx2.create_ssl_context()


def _authorization(url: str) -> dict[str, str]:
    """Returns the header for the user of the URL, which the client would write to its log."""
    user, at, _ = urlsplit(url).netloc.rpartition("@")
    if not at:
        return {}
    name, _, password = user.partition(":")
    plain = f"{unquote(name)}:{unquote(password)}".encode()
    return {"authorization": f"Basic {base64.b64encode(plain).decode()}"}


def _checked_json(prompt: str) -> str:
    try:
        json.loads(prompt)
    except ValueError as error:
        raise PromptError(f"the prompt must be JSON: {error}") from error
    return prompt
