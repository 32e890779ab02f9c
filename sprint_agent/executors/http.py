"""A web service as an executor: the application defines the request, the prompt is part of it.

    HttpExecutor("weather", "Tells a city's weather.", "https://wttr.example/{prompt}?format=3")

Needs the extra `http`.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Literal
from urllib.parse import quote, urlsplit

import anyio

from sprint_agent.errors import ExecutorError, PromptError
from sprint_agent.executors.json_prompts import unfenced
from sprint_agent.extras import install_hint
from sprint_agent.task import JsonSchema, Task

try:
    import httpx2
except ImportError as _error:
    raise ImportError(f"the HTTP executor needs httpx2: {install_hint('http')}") from _error

PLACEHOLDER = "{prompt}"
"""Marks where the prompt goes in the path or the query of a URL."""

_CONTENT_TYPES = {"text": "text/plain; charset=utf-8", "json": "application/json"}
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

    The prompt is percent-encoded, so it cannot reach another host or resource.
    """
    method: Literal["GET", "POST", "PUT", "PATCH"] = "GET"
    body: Literal["text", "json"] | None = None
    """The type of the body if the prompt is the body: plain text or JSON."""
    schema: JsonSchema | None = None
    """The JSON schema of the body, for planners that were not trained to know it."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Headers that are sent unchanged, and only to the host of the URL."""
    seconds: float = 30.0
    """The most seconds for the whole exchange."""
    size: int = 256 * 1024
    """The most bytes of the response that are read. The rest is left out."""
    redirects: int = 0
    """How many redirects of a GET are followed, to the host of the URL or one of `hosts`."""
    hosts: frozenset[str] = frozenset()
    """Other hosts that a redirect may lead to: "api.example.org", "api.example.org:8080"."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{self.url!r} is not the URL of a web service: begin with https://")
        if PLACEHOLDER in parts.netloc or PLACEHOLDER in parts.fragment:
            raise ValueError(f"{PLACEHOLDER} is only allowed in the path or query of {self.url!r}")
        if (PLACEHOLDER in self.url) == (self.body is not None):
            raise ValueError(
                f"{self.name}: use either {PLACEHOLDER} in url or body= for the prompt"
            )
        if self.method == "GET" and self.body is not None:
            raise ValueError(f"{self.name}: a GET has no body: use method='POST'")
        if self.seconds <= 0 or self.size <= 0:
            raise ValueError(f"{self.name}: seconds and size must be positive")
        if self.redirects < 0:
            raise ValueError(f"{self.name}: redirects must not be negative")

    async def execute(self, task: Task) -> str:
        """Returns the response of the service. The connection is closed in every case.

        Raises:
            ExecutorError: the service cannot be reached, takes too long or reports an error.
            PromptError: the status of the response blames the request.
        """
        request = self._request(task.prompt)
        try:
            with anyio.move_on_after(self.seconds):
                return await self._exchange(request)
        except httpx2.HTTPError as error:
            raise ExecutorError(f"the request to {request.url.host} failed: {error!r}") from error
        raise ExecutorError(f"{request.url.host} took longer than {self.seconds:g} s")

    def _request(self, prompt: str) -> httpx2.Request:
        # Decompressing a small response could exceed every bound in one step.
        headers = {"accept-encoding": "identity"}
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
        return httpx2.Request(self.method, self.url, headers=merged, content=content)

    def _filled(self, prompt: str) -> str:
        url = self.url.replace(PLACEHOLDER, quote(prompt, safe="", errors="replace"))
        # Dots are not encoded. As a whole segment of a path they would lead out of it.
        if any(segment in (".", "..") for segment in urlsplit(url).path.split("/")):
            raise PromptError(f"the prompt {prompt!r} is a relative path: write more than dots")
        return url

    async def _exchange(self, request: httpx2.Request) -> str:
        async with httpx2.AsyncClient(verify=_ssl_context(), timeout=None) as client:
            for _ in range(self.redirects + 1):
                async with _sent(client, request) as response:
                    following = response.next_request if self.method == "GET" else None
                    if following is None or not self.redirects:
                        return await self._read(response)
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
            for name in self.headers:
                following.headers.pop(name, None)
        return following

    async def _read(self, response: httpx2.Response) -> str:
        host, status = response.request.url.host, response.status_code
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ExecutorError(f"{host} sent a compressed response, though none was accepted")
        data = b""
        async for chunk in response.aiter_bytes():
            data += chunk
            if len(data) > self.size:
                break
        text = data[: self.size].decode(response.charset_encoding or "utf-8", "replace")
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


@cache
def _ssl_context() -> ssl.SSLContext:
    # Reading the certificates takes longer than many a request.
    return httpx2.create_ssl_context()


def _checked_json(prompt: str) -> str:
    try:
        json.loads(prompt)
    except ValueError as error:
        raise PromptError(f"the prompt must be JSON: {error}") from error
    return prompt
