"""ScriptedEngine: an engine that says what a test tells it to, for tests without a model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

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
    """One id for each character: its code point."""

    vocab_size = 0x110000

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


@dataclass(frozen=True, slots=True)
class Reply:
    """What the engine answers to a request.

    `text` is said `pace` seconds a token; then it ends for `reason`, or as the request's stops and
    `max_tokens` will have it. With `error`, it is raised after the text. With `hang`, nothing more
    ever comes after the text. Two answers are put in order by an event: the one sets it when its
    text is said (`sets`), the other waits for it before its first token (`after`).
    """

    text: str
    pace: float = 0.0
    reason: FinishReason = "end"
    error: Exception | None = None
    hang: bool = False
    after: anyio.Event | None = None
    sets: anyio.Event | None = None


Script = Callable[[str], Reply | str]
"""Answers a prompt's text."""


@dataclass
class ScriptedEngine(AlwaysOpen):
    """An engine whose answers come from `script`, token by token.

    `requests` are all that it was sent; `in_flight` are those that have not ended. The answer is cut
    into the tokenizer's ids, of which each delta carries `chunk`. Each delta is one step of the event
    loop, so runs interleave as they would; time only passes where the script gives a pace.
    """

    script: Script
    tokenizer: Tokenizer | None = field(default_factory=CharTokenizer)
    context_length: int | None = None
    chunk: int = 1
    requests: list[Request] = field(default_factory=list[Request])
    in_flight: int = 0

    @asynccontextmanager
    async def generate(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta | Finish]]:
        self._check(request)
        self.requests.append(request)
        self.in_flight += 1
        try:
            yield self._stream(request)
        finally:
            self.in_flight -= 1

    def prompt_text(self, request: Request) -> str:
        """The text of a request's prompt."""
        if isinstance(request.prompt, str):
            return request.prompt
        assert self.tokenizer is not None
        return self.tokenizer.decode(request.prompt)

    def _check(self, request: Request) -> None:
        if self.tokenizer is not None:
            checked_prompt(request, self.tokenizer.vocab_size, self.context_length)

    async def _stream(self, request: Request) -> AsyncIterator[Delta | Finish]:
        said = self.script(self.prompt_text(request))
        say = Reply(said) if isinstance(said, str) else said
        text, reason, stop = _cut(say, request.stop)
        deltas = self._deltas(text)
        if say.after is not None:
            await say.after.wait()
        room = request.sampling.max_tokens
        if self.context_length is not None:
            room = min(room, self.context_length - len(request.prompt))
        if len(deltas) > room:
            deltas, reason, stop = deltas[:room], "length", None
        for start in range(0, len(deltas), self.chunk):
            await anyio.sleep(say.pace)
            part = deltas[start : start + self.chunk]
            ids = tuple(token for delta in part for token in delta.ids)
            yield Delta("".join(delta.text for delta in part), ids)
        if say.sets is not None:
            say.sets.set()
        if say.error is not None:
            raise say.error
        if say.hang:
            await anyio.sleep_forever()
        ending = len(self._deltas(stop)) if stop else int(reason == "end")
        usage = TokenUsage(len(request.prompt), min(room, len(deltas) + ending))
        yield Finish(reason, usage, stop)

    def _deltas(self, text: str) -> list[Delta]:
        if self.tokenizer is None:
            return [Delta(character) for character in text]
        return [Delta(self.tokenizer.decode([i]), (i,)) for i in self.tokenizer.encode(text)]


def _cut(say: Reply, stops: Sequence[str]) -> tuple[str, FinishReason, str | None]:
    found = StopStrings(stops).find(say.text)
    if found is None:
        return say.text, say.reason, None
    at, stop = found
    return say.text[:at], "stop", stop
