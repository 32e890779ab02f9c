"""Calls to the engine: what counts if an engine fails while its stream is opened, read or left."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest

from sprint_agent import CallEnded, CallRetried, EngineError, Limits, Prices, Sprint
from sprint_agent.engine import Delta, Finish, Request, TokenUsage
from sprint_agent.testing import CharTokenizer, Reply, ScriptedEngine
from tests.script import Scripted, answer

pytestmark = pytest.mark.anyio


class Fails(ScriptedEngine):
    """An engine that fails at one place of its first call."""

    def __init__(self, place: str, script: str | Reply) -> None:
        super().__init__(lambda prompt: script)
        self.place = place
        self.failures = [EngineError("full", transient=True, retry_after=0.0)]

    def fail(self, place: str) -> None:
        if place == self.place and self.failures:
            raise self.failures.pop()

    @asynccontextmanager
    async def generate(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta | Finish]]:
        self.fail("opening")
        try:
            async with super().generate(request) as stream:
                yield self.read(stream)
        except OSError as error:
            raise EngineError("translated", transient=True, retry_after=0.0) from error
        finally:
            self.fail("leaving")

    async def read(self, stream: AsyncIterator[Delta | Finish]) -> AsyncIterator[Delta | Finish]:
        async for event in stream:
            self.fail("reading")
            if self.place == "translating" and self.failures:
                self.failures.pop()
                raise OSError("reset")
            yield event


@pytest.mark.parametrize("place", ["opening", "reading", "translating"])
async def test_a_call_that_fails_is_sent_again(place: str) -> None:
    engine = Fails(place, answer("5"))
    async with Sprint(engine).stream("What?") as run:
        seen = [event async for event in run]
    assert (await run.result()).answer == "5"
    reasons = [event.reason for event in seen if isinstance(event, CallRetried)]
    assert reasons == ["translated" if place == "translating" else "full"]
    assert engine.in_flight == 0


class Miscounts(ScriptedEngine):
    """An engine that says something else about its usage, and fails in words that cannot be encoded."""

    usage = TokenUsage(-5, 0, 900)

    @asynccontextmanager
    async def generate(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta | Finish]]:
        async with super().generate(request) as stream:
            yield self.read(stream)

    async def read(self, stream: AsyncIterator[Delta | Finish]) -> AsyncIterator[Delta | Finish]:
        async for event in stream:
            yield replace(event, usage=self.usage) if isinstance(event, Finish) else event


@pytest.mark.parametrize("tokenizer", [CharTokenizer(), None])
async def test_usage_is_at_least_what_was_seen(tokenizer: CharTokenizer | None) -> None:
    engine = Miscounts(lambda prompt: answer("5"), tokenizer=tokenizer)
    result = await Sprint(engine, prices=Prices(1.0, 1.0, 0.1)).solve("What?")
    usage = result.usage
    # The stop is not among the deltas.
    assert usage.completion_tokens == len(answer("5").removesuffix("</Final_answer>"))
    assert usage.prompt_tokens == (len(engine.requests[0].prompt) if tokenizer else 0)
    assert 0 <= usage.cached_tokens <= usage.prompt_tokens
    assert result.cost is not None
    assert result.cost > 0


async def test_what_an_engine_says_about_its_failure_can_be_encoded() -> None:
    error = EngineError("no \ud83d", transient=True, retry_after=0.0)
    script = Scripted([Reply("So", error=error), answer("5")])
    async with Sprint(ScriptedEngine(script)).stream("What?") as run:
        seen = [event async for event in run]
    reasons = [event.reason for event in seen if isinstance(event, CallRetried)]
    assert reasons == ["no ?"]
    assert [event.error for event in seen if isinstance(event, CallEnded)] == ["no ?", None]


async def test_an_answer_counts_more_than_an_engine_that_fails_while_it_is_left() -> None:
    engine = Fails("leaving", answer("5"))
    assert (await Sprint(engine).solve("What?")).answer == "5"
    assert engine.failures == []
    assert len(engine.requests) == 1


async def test_a_deadline_counts_more_than_an_engine_that_fails_while_it_is_left() -> None:
    engine = Fails("leaving", Reply("So", hang=True))
    with anyio.fail_after(5):
        result = await Sprint(engine, limits=Limits(deadline=0.05)).solve("What?")
    assert result.limit == "deadline"
    assert engine.failures == []
    assert len(engine.requests) == 1


async def test_an_engine_that_cannot_be_reached_is_tried_three_times() -> None:
    engine = Fails("opening", answer("5"))
    engine.failures = [EngineError("down", transient=True, retry_after=0.0) for _ in range(5)]
    with pytest.raises(EngineError, match=r"^down$"):
        await Sprint(engine).solve("What?")
    assert len(engine.failures) == 2
