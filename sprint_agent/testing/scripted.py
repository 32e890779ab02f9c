"""ScriptedEngine: an engine for tests without a model. Its answers come from a script."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio

from sprint_agent.engine import (
    AlwaysOpen,
    Delta,
    Finish,
    FinishReason,
    Request,
    Tokenizer,
    TokenUsage,
)
from sprint_agent.engines.stops import StopStrings
from sprint_agent.engines.validate import checked_prompt


class CharTokenizer:
    """A tokenizer whose ids are the code points of the characters."""

    vocab_size = 0x110000

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


@dataclass(frozen=True, slots=True)
class Reply:
    """What the engine answers to a request.

    An event can order two replies: one sets it after its text (`sets`), and the other waits for it
    before its first token (`after`).
    """

    text: str
    delay: float = 0.0
    """Seconds before each token."""
    reason: FinishReason = "end"
    """Why the answer ends, unless a stop string or `max_tokens` of the request ends it earlier."""
    error: Exception | None = None
    """Raised after the text."""
    hang: bool = False
    """Whether the answer never ends after its text."""
    after: anyio.Event | None = None
    """The event to wait for before the first token."""
    sets: anyio.Event | None = None
    """The event to set after the text."""


_BEGINNING = re.compile(r"<think>\n|</Execution_\d+>\n\n|<execution_[\d.]+>\n|<Final_answer>\n")
"""After this, a planner or an executor begins to write."""

Script = Callable[[str], Reply | str | Awaitable[Reply | str]]
"""Returns the reply to the text of a prompt. It may be an async function."""


@dataclass
class ScriptedEngine(AlwaysOpen):
    """An engine whose answers come from `script`, token by token.

    Each delta is one step of the event loop, so runs interleave as with a real engine. Time passes
    only if the script sets a `delay`. If the engine is asked to continue a text, as after a resume, and
    the script returns all of it, the engine writes the rest.
    """

    script: Script
    tokenizer: Tokenizer | None = field(default_factory=CharTokenizer)
    """Splits the answers into ids. None for an engine that takes text."""
    context_length: int | None = None
    """The most ids of a prompt and its answer, or None for no limit."""
    chunk: int = 1
    """How many ids each delta contains."""
    requests: list[Request] = field(default_factory=list[Request])
    """All requests that it received."""
    in_flight: int = 0
    """How many requests have not ended."""

    @asynccontextmanager
    async def generate(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta | Finish]]:
        self._check(request)
        self.requests.append(request)
        self.in_flight += 1
        stream = self._stream(request)
        try:
            yield stream
        finally:
            self.in_flight -= 1
            # An unfinished generator that is left to the garbage collector is a warning under trio.
            await stream.aclose()

    def prompt_text(self, request: Request) -> str:
        """Returns the prompt of a request as text."""
        if isinstance(request.prompt, str):
            return request.prompt
        assert self.tokenizer is not None
        return self.tokenizer.decode(request.prompt)

    def _check(self, request: Request) -> None:
        if self.tokenizer is not None:
            checked_prompt(request, self.tokenizer.vocab_size, self.context_length)

    async def _stream(self, request: Request) -> AsyncGenerator[Delta | Finish]:
        reply = await reply_of(self.script, self.prompt_text(request))
        text, reason, stop = _until_stop(reply, request.stop)
        deltas = self._deltas(text)
        if reply.after is not None:
            await reply.after.wait()
        room = request.sampling.max_tokens
        if self.context_length is not None:
            room = min(room, self.context_length - len(request.prompt))
        if len(deltas) > room:
            deltas, reason, stop = deltas[:room], "length", None
        for start in range(0, len(deltas), self.chunk):
            await anyio.sleep(reply.delay)
            part = deltas[start : start + self.chunk]
            ids = tuple(token for delta in part for token in delta.ids)
            yield Delta("".join(delta.text for delta in part), ids)
        if reply.sets is not None:
            reply.sets.set()
        if reply.error is not None:
            raise reply.error
        if reply.hang:
            await anyio.sleep_forever()
        ending = len(self._deltas(stop)) if stop else int(reason == "end")
        usage = TokenUsage(len(request.prompt), min(room, len(deltas) + ending))
        yield Finish(reason, usage, stop)

    def _deltas(self, text: str) -> list[Delta]:
        if self.tokenizer is None:
            return [Delta(character) for character in text]
        return [Delta(self.tokenizer.decode([i]), (i,)) for i in self.tokenizer.encode(text)]


async def reply_of(script: Script, prompt: str) -> Reply:
    """Returns what a script replies to a prompt, without what the prompt contains of it already."""
    scripted = script(prompt)
    if isinstance(scripted, Awaitable):
        scripted = await scripted
    reply = Reply(scripted) if isinstance(scripted, str) else scripted
    return replace(reply, text=_rest(prompt, reply.text))


def _rest(prompt: str, text: str) -> str:
    """Returns what is left of a text whose beginning the prompt ends with."""
    begun = _BEGINNING.split(prompt)
    return text.removeprefix(begun[-1]) if len(begun) > 1 else text


def _until_stop(reply: Reply, stops: Sequence[str]) -> tuple[str, FinishReason, str | None]:
    found = StopStrings(stops).find(reply.text)
    if found is None:
        return reply.text, reply.reason, None
    at, stop = found
    return reply.text[:at], "stop", stop
