"""A web service as executor: the application fixes the request, the prompt fills one place in it.

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
from sprint_agent.task import JsonSchema, Task

try:
    import httpx2
except ImportError as error:
    raise ImportError("the HTTP executor needs httpx2: pip install 'sprint-agent[http]'") from error

PLACE = "{prompt}"
"""What stands for the prompt in a URL: in its path or its query."""

_CONTENT_TYPES = {"text": "text/plain; charset=utf-8", "json": "application/json"}
_PROMPTS_FAULT = frozenset({400, 404, 409, 413, 414, 422})
"""Answers that say that the request is at fault: another prompt may do, the same will not."""
_EXCERPT_CHARACTERS = 200
_PARTING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class HttpExecutor:
    """Sends its prompt to a web service and returns what that answers, as text.

    `url` is fixed but for `{prompt}` in its path or query, where the prompt stands percent-encoded,
    so that it cannot reach another host or resource. Without `{prompt}`, the prompt is the `body`:
    plain text, or JSON (`schema` then says of what kind, for planners that are told). `headers` are
    sent as they are, to the URL's own host only.

    `seconds` bounds the whole exchange, `size` what is read of the answer, in bytes; the rest is
    left out. Up to `redirects` are followed for a GET, to the URL's own host or one of `hosts`
    ("api.example.org", "api.example.org:8080"), and never from https to http.

    An answer that is no success, and a service that cannot be reached, are an ExecutorError; where
    the status says that the request was at fault, a PromptError. Raises ValueError where `url`,
    `method` and `body` do not fit together.
    """

    name: str
    description: str
    url: str
    method: Literal["GET", "POST", "PUT", "PATCH"] = "GET"
    body: Literal["text", "json"] | None = None
    schema: JsonSchema | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    seconds: float = 30.0
    size: int = 256 * 1024
    redirects: int = 0
    hosts: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{self.url!r} is not the URL of a web service: begin with https://")
        if PLACE in parts.netloc or PLACE in parts.fragment:
            raise ValueError(f"{PLACE} may stand in the path and the query of {self.url!r} alone")
        if (PLACE in self.url) == (self.body is not None):
            raise ValueError(f"{self.name}: the prompt goes either to {PLACE} in url, or to body=")
        if self.method == "GET" and self.body is not None:
            raise ValueError(f"{self.name}: a GET has no body: use method='POST'")
        if self.seconds <= 0 or self.size <= 0 or self.redirects < 0:
            raise ValueError(f"{self.name}: seconds and size must be positive, redirects not < 0")

    async def execute(self, task: Task) -> str:
        """What the service answers. The connection is closed when this is left, however it is."""
        request = self._request(task.prompt)
        try:
            with anyio.move_on_after(self.seconds):
                return await self._ask(request)
        except httpx2.HTTPError as error:
            raise ExecutorError(f"{request.url.host} cannot be asked: {error!r}") from error
        raise ExecutorError(f"{request.url.host} took longer than {self.seconds:g} s")

    def _request(self, prompt: str) -> httpx2.Request:
        # Compressed, a small answer could grow beyond all bounds in one step.
        headers = {"accept-encoding": "identity"}
        if self.body is None:
            try:
                url = httpx2.URL(self._filled(prompt))
            except httpx2.InvalidURL as error:
                raise PromptError(f"the prompt cannot be asked for: {error}") from error
            return httpx2.Request(self.method, url, headers={**headers, **self.headers})
        if self.body == "json":
            prompt = _checked_json(unfenced(prompt))
        headers["content-type"] = _CONTENT_TYPES[self.body]
        content = prompt.encode("utf-8", "replace")
        merged = {**headers, **self.headers}
        return httpx2.Request(self.method, self.url, headers=merged, content=content)

    def _filled(self, prompt: str) -> str:
        url = self.url.replace(PLACE, quote(prompt, safe="", errors="replace"))
        # Dots are not encoded, and as a whole step of a path they would lead out of it.
        if any(step in (".", "..") for step in urlsplit(url).path.split("/")):
            raise PromptError(f"{prompt!r} cannot be asked for: write more than dots")
        return url

    async def _ask(self, request: httpx2.Request) -> str:
        async with httpx2.AsyncClient(verify=_ssl_context(), timeout=None) as client:
            for _ in range(self.redirects + 1):
                async with _sent(client, request) as response:
                    following = response.next_request if self.method == "GET" else None
                    if following is None or not self.redirects:
                        return await self._read(response)
                request = self._redirected(request, following)
        raise ExecutorError(f"{request.url.host} redirects more than {self.redirects} times")

    def _redirected(self, request: httpx2.Request, following: httpx2.Request) -> httpx2.Request:
        own, now, then = httpx2.URL(self.url), request.url, following.url
        if _place(then) not in {_place(own), *self.hosts}:
            raise ExecutorError(f"{now.host} redirects to {_place(then)}, which is not allowed")
        if (now.scheme, then.scheme) == ("https", "http"):
            raise ExecutorError(f"{now.host} redirects from https to http, which is not allowed")
        if (own.scheme, _place(own)) != (then.scheme, _place(then)):
            # They may hold what is meant for the first host alone.
            for name in self.headers:
                following.headers.pop(name, None)
        return following

    async def _read(self, response: httpx2.Response) -> str:
        host, status = response.request.url.host, response.status_code
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ExecutorError(f"{host} answers compressed, though it was asked not to")
        data = b""
        async for chunk in response.aiter_bytes():
            data += chunk
            if len(data) > self.size:
                break
        text = data[: self.size].decode(response.charset_encoding or "utf-8", "replace")
        if not response.is_success:
            kind = PromptError if status in _PROMPTS_FAULT else ExecutorError
            raise kind(f"{host} answers {status}: {text[:_EXCERPT_CHARACTERS]}")
        return text if len(data) <= self.size else f"{text}\n[more left out]"


@asynccontextmanager
async def _sent(
    client: httpx2.AsyncClient, request: httpx2.Request
) -> AsyncGenerator[httpx2.Response]:
    response = await client.send(request, stream=True)
    try:
        yield response
    finally:
        with anyio.move_on_after(_PARTING_SECONDS, shield=True):
            await response.aclose()


def _place(url: httpx2.URL) -> str:
    """Host and port, the port where it is not the scheme's own."""
    return url.netloc.decode("ascii")


@cache
def _ssl_context() -> ssl.SSLContext:
    # Reading the certificates takes longer than many an answer.
    return httpx2.create_ssl_context()


def _checked_json(prompt: str) -> str:
    try:
        json.loads(prompt)
    except ValueError as error:
        raise PromptError(f"the prompt must be JSON: {error}") from error
    return prompt
