"""An OpenAI-compatible server as the openai package reaches it: what it serves, and calls to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import anyio
import httpx2
import openai

from sprint_agent.engine import Request
from sprint_agent.engines.http_client import EventBody, open_client, read_object, unreached
from sprint_agent.engines.openai import wire
from sprint_agent.engines.openai.chat_prompt import conversation
from sprint_agent.engines.openai.chat_reply import ChatReader
from sprint_agent.engines.stops import TextReader
from sprint_agent.engines.validate import checked_text
from sprint_agent.errors import ContextTooLong, EngineUnavailable, RequestRefused

Mode = Literal["chat", "completions"]

_LEAST_ANSWER = 256
"""What does not fit into the context is sent again for half as many tokens, down to these."""

_BEHIND_STOP = 8
"""Tokens that are waited for behind a stop, where the server is about to end and to say the usage."""


class Reader(Protocol):
    """Turns what a server sends into the answer's text, up to its first stop."""

    @property
    def stop(self) -> str | None: ...

    def feed(self, text: str) -> str: ...

    def flush(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it goes over the wire, who reads its answer, and how long after a stop."""

    path: str
    body: dict[str, object]
    reader: Reader
    behind_stop: int


@dataclass(slots=True)
class Server:
    """A server that was reached. `terms` is what it takes, learned from what it refuses."""

    client: openai.AsyncOpenAI
    url: str
    model: str
    mode: Mode
    idle: float
    terms: wire.Terms = wire.Terms()
    context_length: int | None = None

    async def learn(self) -> None:
        """Asks the server for its models. EngineUnavailable where none answers, or wants a key."""
        try:
            response = await self.client.get("/models", cast_to=httpx2.Response)
            said = read_object(response.text)
        except openai.APIStatusError as error:
            refused = wire.refused(self.url, error.status_code, error.body)
            if error.status_code == 401 or isinstance(refused, EngineUnavailable):
                raise EngineUnavailable(str(refused), transient=refused.transient) from error
            # Some servers, and some keys, list no models.
            return
        except ValueError as error:
            raise EngineUnavailable(
                f"the server at {self.url} is not OpenAI-compatible: check that its address is "
                "whole, with /v1 where it has that"
            ) from error
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            raise self._unreached(error) from error
        self.terms, self.context_length = wire.read_model(said, self.model)

    async def send(self, request: Request) -> tuple[Call, EventBody]:
        """Sends a request, again where the server refuses how it is put; the answer has begun then.

        Raises RequestRefused, ContextTooLong and EngineUnavailable.
        """
        prompt, max_tokens = checked_text(request), request.sampling.max_tokens
        while True:
            terms = self.terms
            call = self._call(request, prompt, max_tokens)
            try:
                return call, EventBody(await self._post(call), self.url, self.idle)
            except openai.APIStatusError as error:
                status, said = error.status_code, error.body
                refused = wire.refused(self.url, status, said, error.response.headers)
                learned = terms.learn(status, said)
                if learned is not None:
                    self.terms = learned
                elif isinstance(refused, ContextTooLong) and max_tokens > _LEAST_ANSWER:
                    max_tokens = max(_LEAST_ANSWER, max_tokens // 2)
                else:
                    raise refused from error

    async def close(self) -> None:
        """Closes the connections."""
        with anyio.CancelScope(shield=True):
            await self.client.close()

    def _call(self, request: Request, prompt: str, max_tokens: int) -> Call:
        if self.mode == "completions":
            body = wire.parameters(request.sampling, max_tokens, request.stop, self.terms)
            body |= {"model": self.model, "prompt": prompt}
            behind_stop = _BEHIND_STOP if self.terms.keeps_stop else 0
            return Call("/completions", body, TextReader(request.stop), behind_stop)
        talk = conversation(prompt, request.executors, request.complaint)
        # No stop is sent: a server would find it in what the model thinks as well.
        body = wire.parameters(request.sampling, max_tokens, (), self.terms)
        body |= {"model": self.model, "messages": list(talk.messages)}
        reader = ChatReader(talk, request.stop)
        return Call("/chat/completions", body, reader, _BEHIND_STOP)

    async def _post(self, call: Call) -> httpx2.Response:
        """Sends a call. Raises openai.APIStatusError as it is, all else as ours."""
        try:
            stream = await self.client.post(
                call.path,
                cast_to=object,
                body=call.body,
                stream=True,
                stream_cls=openai.AsyncStream[object],
            )
        except openai.APIStatusError:
            raise
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            raise self._unreached(error) from error
        except UnicodeEncodeError as error:
            raise RequestRefused("the prompt holds half a character: take it out") from error
        # Its body is read by us: the package takes a stream that was cut off for a whole one.
        return stream.response

    def _unreached(self, error: Exception) -> EngineUnavailable:
        return unreached(self.url, raised_below(error), self.idle)


def raised_below(error: Exception) -> BaseException:
    """What the HTTP client raised, which says more than what the package makes of it."""
    wrapped = error.__cause__ if isinstance(error, openai.OpenAIError) else None
    return wrapped or error


def open_server(url: str, model: str, mode: Mode, key: str, idle: float) -> Server:
    """A server that has not been reached yet. EngineUnavailable for a bad address or key."""
    return Server(open_openai(url, key, idle), url, model, mode, idle)


def open_openai(url: str, key: str, idle: float) -> openai.AsyncOpenAI:
    """The package's client, without its retries. EngineUnavailable for a bad address or key."""
    if not (key.isascii() and key.isprintable()):
        raise EngineUnavailable("the API key holds characters that no key has: check api_key=")
    connections = open_client(url, idle)
    return openai.AsyncOpenAI(
        base_url=url,
        api_key=key,
        # Retries are made in one place, by whoever calls: for all engines in `calls`.
        max_retries=0,
        timeout=connections.timeout,
        http_client=connections,
    )
