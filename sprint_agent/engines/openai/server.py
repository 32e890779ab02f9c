"""An OpenAI-compatible server, reached through the openai package: its models, and calls to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol, cast

import anyio
import httpx2
import openai

from sprint_agent.engine import Request
from sprint_agent.engines.addresses import public_url
from sprint_agent.engines.event_body import EventBody
from sprint_agent.engines.http_client import (
    close_stream,
    connection_error,
    open_client,
    read_object,
)
from sprint_agent.engines.openai import wire
from sprint_agent.engines.openai.chat_prompt import build_conversation
from sprint_agent.engines.openai.chat_reply import ChatReader
from sprint_agent.engines.openai.dialect import ServerQuirks, fewer_tokens
from sprint_agent.engines.server_errors import ErrorReply
from sprint_agent.engines.stops import TextReader
from sprint_agent.engines.validate import checked_text
from sprint_agent.errors import ContextTooLong, EngineError, EngineUnavailable, RequestRefused

Mode = Literal["chat", "completions"]
"""Whether a model is prompted as a chat or continues the text."""

_LEAST_ANSWER = 256
"""A request that does not fit into the context is sent again with half the tokens, down to this."""

_SHORTEST_SECRET = 8
"""A shorter key is not a secret, such as "none"."""

_TOKENS_AFTER_STOP = 8
"""How many tokens after a stop to wait for a server that is about to end and to report the usage."""


class Reader(Protocol):
    """Turns the text that a server sends into the text of the answer, up to its first stop."""

    @property
    def stop(self) -> str | None: ...

    def feed(self, text: str) -> str: ...

    def flush(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it is sent, and how its answer is read."""

    path: str
    body: dict[str, object]
    reader: Reader

    tokens_after_stop: int
    """For how many tokens after a stop the stream is read, to receive the usage."""

    @property
    def max_tokens(self) -> int:
        """How many tokens the body asks for. 0 if the server refuses to be told."""
        asked = self.body.get("max_tokens", self.body.get("max_completion_tokens"))
        return asked if isinstance(asked, int) else 0

    @property
    def parameters(self) -> frozenset[str]:
        """The names in the body, and the options of the stream."""
        options = self.body.get("stream_options")
        nested = cast("dict[str, object]", options) if isinstance(options, dict) else {}
        return frozenset([*self.body, *nested])


@dataclass(slots=True)
class Server:
    """A server, the client for it, and what is known about it."""

    client: openai.AsyncOpenAI
    url: str
    """Its address, without secrets."""
    model: str
    mode: Mode
    idle: float
    key: str = field(repr=False)
    quirks: ServerQuirks = ServerQuirks()
    """How it differs from other servers. A refused parameter is added when the server refuses it."""

    context_length: int | None = None

    finishes_early: bool = False
    """Whether it gave a finish reason before the end of an answer. Then one alone does not end it."""

    async def read_models(self) -> None:
        """Asks the server for its models, and sets its quirks and context length.

        Raises:
            EngineUnavailable: No server answers, or the server wants another key.
        """
        try:
            response = await self.client.get("/models", cast_to=httpx2.Response)
            listing = read_object(response.text)
        except openai.APIStatusError as error:
            failure = self.failure(_reply_of(error))
            if error.status_code == 401 or isinstance(failure, EngineUnavailable):
                raise EngineUnavailable(str(failure), transient=failure.transient) from error
            # Some servers, and some keys, list no models.
            return
        except ValueError as error:
            raise EngineUnavailable(
                f"the server at {self.url} is not OpenAI-compatible: check that its address is "
                "complete, with /v1 if the server has that"
            ) from error
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            raise self._connection_error(error) from error
        self.quirks, self.context_length = wire.read_model(listing, self.model)

    async def send(self, request: Request) -> tuple[Call, EventBody]:
        """Sends a request. Returns when the answer has begun.

        If the server refuses a parameter, or wants to be asked for fewer tokens, it sends a changed
        request. What it learned is kept for further requests, except for the room in the context.

        Raises:
            RequestRefused: The request cannot be run.
            ContextTooLong: The prompt leaves no room for an answer.
            EngineUnavailable: The server cannot be reached or failed.
            EngineError: The server sent something that is not an answer.
        """
        prompt, max_tokens = checked_text(request), request.sampling.max_tokens
        while True:
            call = self._call(request, prompt, max_tokens)
            try:
                return call, await self._begin(call)
            except ErrorReply as reply:
                failure = self.failure(reply)
                if isinstance(failure, ContextTooLong) and call.max_tokens > _LEAST_ANSWER:
                    max_tokens = max(_LEAST_ANSWER, call.max_tokens // 2)
                elif isinstance(failure, ContextTooLong) or not self._learn(reply, call):
                    raise failure from self.cause_of(reply)

    def failure(self, reply: ErrorReply) -> EngineError:
        """Returns the error for what the server sent. The key is not in it."""
        error = wire.status_error(self.url, reply.status, reply.body, reply.headers)
        if self._shows_key(error):
            error.args = (str(error).replace(self.key, "***"),)
        return error

    def cause_of(self, reply: ErrorReply) -> BaseException | None:
        """Returns the cause of the error for a reply. None if it shows the key."""
        cause = reply.__cause__ or reply
        return None if self._shows_key(cause) else cause

    def _shows_key(self, error: BaseException) -> bool:
        return len(self.key) >= _SHORTEST_SECRET and self.key in str(error)

    def _learn(self, reply: ErrorReply, call: Call) -> bool:
        """Learns from a refusal what the server does not accept. Returns whether to send again.

        Other requests may have learned something while this one was sent. So what is new is added to
        what is known now. If this request was refused for what is known now, it is sent again.
        """
        fewer = fewer_tokens(reply.status, reply.body, call.max_tokens)
        if fewer is not None:
            self.quirks = self.quirks.with_most_tokens(fewer)
            return True
        changed = self.quirks.after_refusal(reply.status, reply.body, call.parameters)
        if changed is not None:
            self.quirks = changed
        return changed is not None

    async def close(self) -> None:
        """Closes the connections."""
        with anyio.CancelScope(shield=True):
            await self.client.close()

    def _call(self, request: Request, prompt: str, max_tokens: int) -> Call:
        if self.mode == "completions":
            body = wire.parameters(request.sampling, max_tokens, request.stop, self.quirks)
            body |= {"model": self.model, "prompt": prompt}
            after_stop = _TOKENS_AFTER_STOP if self.quirks.stop_in_text_parameter else 0
            return Call("/completions", body, TextReader(request.stop), after_stop)
        conversation = build_conversation(prompt, request.executors, request.complaint)
        # No stop is sent, because a server would also find it in the model's thoughts.
        body = wire.parameters(request.sampling, max_tokens, (), self.quirks)
        body |= {"model": self.model, "messages": list(conversation.messages)}
        reader = ChatReader(conversation, request.stop)
        return Call("/chat/completions", body, reader, _TOKENS_AFTER_STOP)

    async def _begin(self, call: Call) -> EventBody:
        """Sends a call and waits for the first token of its answer.

        Raises:
            ErrorReply: The server refused the call or failed, by its status or by an event.
            EngineError: The server cannot be reached, or sent no answer.
        """
        body = EventBody(await self._post(call), self.url, self.idle)
        try:
            await body.peek(wire.begins_answer)
        except BaseException:
            await close_stream(body.close)
            raise
        return body

    async def _post(self, call: Call) -> httpx2.Response:
        """Sends a call.

        Raises:
            ErrorReply: The server answered with an error status.
            EngineUnavailable: The server cannot be reached or was silent for too long.
            RequestRefused: The prompt cannot be encoded.
        """
        try:
            stream = await self.client.post(
                call.path,
                cast_to=object,
                body=call.body,
                stream=True,
                stream_cls=openai.AsyncStream[object],
            )
        except openai.APIStatusError as error:
            raise _reply_of(error) from error
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            raise self._connection_error(error) from error
        except UnicodeEncodeError as error:
            raise RequestRefused(
                "the prompt contains an unpaired surrogate: decode the input as UTF-8"
            ) from error
        # The engine reads the body itself, because the package accepts a stream that was cut off.
        return stream.response

    def _connection_error(self, error: Exception) -> EngineUnavailable:
        return connection_error(self.url, http_cause(error), self.idle)


def _reply_of(error: openai.APIStatusError) -> ErrorReply:
    """Returns the reply inside an error of the package."""
    reply = ErrorReply(error.status_code, error.body, error.response.headers)
    reply.__cause__ = error
    return reply


def http_cause(error: Exception) -> BaseException:
    """Returns the HTTP client's error inside one of the package, because it says more."""
    wrapped = error.__cause__ if isinstance(error, openai.OpenAIError) else None
    return wrapped or error


def open_server(url: str, model: str, mode: Mode, key: str, idle: float) -> Server:
    """Returns a server. Nothing is sent to it yet.

    Raises:
        EngineUnavailable: The address or the key is invalid.
    """
    return Server(open_openai(url, key, idle), public_url(url), model, mode, idle, key)


def open_openai(url: str, key: str, idle: float) -> openai.AsyncOpenAI:
    """Returns the package's client, without its retries.

    Raises:
        EngineUnavailable: The address or the key is invalid.
    """
    if not (key.isascii() and key.isprintable()):
        raise EngineUnavailable(
            "the API key contains characters that are not printable ASCII: check api_key="
        )
    connections = open_client(url, idle)
    return openai.AsyncOpenAI(
        base_url=url,
        api_key=key,
        # The caller retries. For all engines, `runtime/calls.py` is the one place that does it.
        max_retries=0,
        timeout=connections.timeout,
        http_client=connections,
    )
