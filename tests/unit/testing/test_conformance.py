"""check_engine passes an engine that keeps its promises, and names each broken promise."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Self

import anyio
import pytest

from sprint_agent.engine import Delta, Finish, Request, Tokenizer, TokenUsage
from sprint_agent.engines.stops import AnswerReader
from sprint_agent.errors import ContextTooLong, EngineUnavailable, RequestRefused
from sprint_agent.testing.checks import CHECKS
from sprint_agent.testing.conformance import check_engine

pytestmark = pytest.mark.anyio

CONTEXT = 1_000
PIECES = ["<eos>", *(chr(code) for code in range(1, 128)), "ab", "cde", "gh"]


def ids_of(request: Request) -> tuple[int, ...]:
    assert not isinstance(request.prompt, str)
    return request.prompt


class Pieces:
    """A tokenizer with a few ids of several letters."""

    @property
    def vocab_size(self) -> int:
        return len(PIECES)

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(PIECES[token] for token in ids)


class GoodEngine:
    """Answers with the alphabet again and again, starting where the prompt's last id says."""

    def __init__(self) -> None:
        self.tokenizer: Tokenizer | None = Pieces()
        self.context_length: int | None = CONTEXT
        self.running: set[str] = set()

    @property
    def in_flight(self) -> int:
        return len(self.running)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def generate(
        self, request: Request
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta | Finish]]:
        return self._generate(request)

    @asynccontextmanager
    async def _generate(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta | Finish]]:
        self.refuse(request)
        self.running.add(request.request_id)
        try:
            yield self.events(request)
        finally:
            self.leave(request)

    def refuse(self, request: Request) -> None:
        if len(request.prompt) >= CONTEXT:
            raise ContextTooLong("too long")
        if any(not 0 <= token < len(PIECES) for token in ids_of(request)):
            raise RequestRefused("bad id")

    def leave(self, request: Request) -> None:
        self.running.discard(request.request_id)

    def sampled(self, request: Request) -> list[int]:
        start = int(request.prompt[-1]) if self.tokenizer is not None else 97
        cycle = [128, 129, ord("f"), 130, *range(ord("i"), ord("z") + 1)]
        return [cycle[(start + step) % len(cycle)] for step in range(request.sampling.max_tokens)]

    def reader(self, request: Request) -> AnswerReader:
        return AnswerReader(Pieces(), request.stop)

    async def events(self, request: Request) -> AsyncIterator[Delta | Finish]:
        reader, count = self.reader(request), 0
        for token in self.sampled(request):
            await anyio.lowlevel.checkpoint()
            delta, count = reader.feed([token]), count + 1
            if delta is not None:
                yield self.delta(delta)
            if reader.stop is not None:
                break
        last = reader.flush()
        if last is not None:
            yield self.delta(last)
        usage = TokenUsage(len(request.prompt), count)
        yield Finish("length" if reader.stop is None else "stop", usage, reader.stop)

    def delta(self, delta: Delta) -> Delta:
        return delta


class TextEngine(GoodEngine):
    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = self.context_length = None

    def refuse(self, request: Request) -> None:
        return None

    def delta(self, delta: Delta) -> Delta:
        return replace(delta, ids=())


class NoFinish(GoodEngine):
    async def events(self, request: Request) -> AsyncIterator[Delta | Finish]:
        async for event in super().events(request):
            if isinstance(event, Delta):
                yield event


class TwoFinishes(GoodEngine):
    async def events(self, request: Request) -> AsyncIterator[Delta | Finish]:
        async for event in super().events(request):
            yield event
        yield event


class OtherIds(GoodEngine):
    def delta(self, delta: Delta) -> Delta:
        return replace(delta, ids=delta.ids[:-1])


class MisalignedIds(GoodEngine):
    """All ids arrive, but at the end and not with their text."""

    async def events(self, request: Request) -> AsyncIterator[Delta | Finish]:
        kept: tuple[int, ...] = ()
        async for event in super().events(request):
            if isinstance(event, Finish):
                yield Delta("", kept)
                yield event
            else:
                kept += event.ids
                yield Delta(event.text)


class Recount(GoodEngine):
    def usage(self, usage: TokenUsage) -> TokenUsage:
        raise NotImplementedError

    async def events(self, request: Request) -> AsyncIterator[Delta | Finish]:
        async for event in super().events(request):
            is_finish = isinstance(event, Finish)
            yield replace(event, usage=self.usage(event.usage)) if is_finish else event


class WrongPromptCount(Recount):
    def usage(self, usage: TokenUsage) -> TokenUsage:
        return replace(usage, prompt_tokens=0)


class MoreCachedThanAsked(Recount):
    def usage(self, usage: TokenUsage) -> TokenUsage:
        return replace(usage, cached_tokens=usage.prompt_tokens + 1)


class IgnoresMaxTokens(GoodEngine):
    def sampled(self, request: Request) -> list[int]:
        return super().sampled(replace(request, sampling=replace(request.sampling, max_tokens=24)))


class ShowsTheStop(GoodEngine):
    async def events(self, request: Request) -> AsyncIterator[Delta | Finish]:
        async for event in super().events(request):
            if isinstance(event, Finish) and event.stop is not None:
                yield Delta(event.stop, tuple(Pieces().encode(event.stop)))
            yield event


class CutsAtIds(GoodEngine):
    """Finds a stop only if it begins at the start of an id."""

    def reader(self, request: Request) -> AnswerReader:
        stops = [stop for stop in request.stop if stop[0] not in "bde"]
        return AnswerReader(Pieces(), stops)


class SeesEachDeltaAlone(GoodEngine):
    """Searches for a stop in the text of each single id."""

    def reader(self, request: Request) -> AnswerReader:
        stops = [stop for stop in request.stop if any(stop in piece for piece in PIECES)]
        return AnswerReader(Pieces(), stops)


class OneStopOnly(GoodEngine):
    def reader(self, request: Request) -> AnswerReader:
        return AnswerReader(Pieces(), request.stop[:1])


class OneAtATime(GoodEngine):
    def __init__(self) -> None:
        super().__init__()
        self.lock = anyio.Lock()

    @asynccontextmanager
    async def _generate(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta | Finish]]:
        async with self.lock, super()._generate(request) as stream:
            yield stream


class MixesUp(GoodEngine):
    """Answers the prompt of another request if several are processed."""

    def sampled(self, request: Request) -> list[int]:
        shift = len(self.running) - 1
        return super().sampled(replace(request, prompt=(*ids_of(request), shift + 97)[-2:]))


class Forgetful(GoodEngine):
    """Never gives the same answer twice, for one kind of sampling."""

    def __init__(self, greedy: bool) -> None:
        super().__init__()
        self.greedy = greedy
        self.calls = 0

    def sampled(self, request: Request) -> list[int]:
        self.calls += (request.sampling.temperature == 0) == self.greedy
        return super().sampled(replace(request, prompt=(97 + self.calls,)))


class LeavesRunning(GoodEngine):
    def leave(self, request: Request) -> None:
        return None

    async def events(self, request: Request) -> AsyncIterator[Delta | Finish]:
        async for event in super().events(request):
            yield event
        self.running.discard(request.request_id)


class TakesAnyId(GoodEngine):
    def refuse(self, request: Request) -> None:
        if len(request.prompt) >= CONTEXT:
            raise ContextTooLong("too long")


class TakesAnyLength(GoodEngine):
    def refuse(self, request: Request) -> None:
        if max(ids_of(request)) >= len(PIECES) or min(ids_of(request)) < 0:
            raise RequestRefused("bad id")


# The answer to the first prompt begins with ids of several letters.
PROMPTS = [(97, 88), (99,), (100, 101, 102)]


async def fails(engine: GoodEngine, name: str, patience: float = 0.5) -> bool:
    (check,) = [check for check in CHECKS if check.__name__ == name]
    report = await check_engine(engine, PROMPTS, checks=[check], patience=patience)
    return [failed for failed, _ in report.failed] == [name]


async def test_an_engine_that_keeps_its_promises_passes_every_check() -> None:
    report = await check_engine(GoodEngine(), PROMPTS)
    assert report.ok, str(report)
    assert report.passed == tuple(check.__name__ for check in CHECKS)


async def test_a_text_engine_passes_the_checks_that_apply() -> None:
    report = await check_engine(TextEngine(), ["ask", "again"])
    assert report.ok, str(report)
    assert [name for name, _ in report.skipped] == [
        "bad_ids_are_refused",
        "too_long_prompts_are_refused",
    ]


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (NoFinish(), "one_finish_and_last"),
        (TwoFinishes(), "one_finish_and_last"),
        (OtherIds(), "ids_decode_to_text"),
        (MisalignedIds(), "ids_decode_to_text"),
        (WrongPromptCount(), "usage_counts"),
        (MoreCachedThanAsked(), "usage_counts"),
        (IgnoresMaxTokens(), "max_tokens_is_length"),
        (ShowsTheStop(), "a_stop_ends_the_answer"),
        (CutsAtIds(), "a_stop_ends_the_answer"),
        (SeesEachDeltaAlone(), "a_stop_straddles_ids"),
        (OneStopOnly(), "the_first_of_several_stops"),
        (MixesUp(), "concurrent_answers_are_apart"),
        (Forgetful(greedy=True), "greedy_twice_the_same"),
        (Forgetful(greedy=False), "same_seed_the_same"),
        (LeavesRunning(), "leaving_early_leaves_nothing"),
        (LeavesRunning(), "cancellation_leaves_nothing"),
        (TakesAnyId(), "bad_ids_are_refused"),
        (TakesAnyLength(), "too_long_prompts_are_refused"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_a_broken_promise_is_named(broken: GoodEngine, check: str) -> None:
    assert await fails(broken, check)


async def test_sequential_requests_are_named() -> None:
    assert await fails(OneAtATime(), "requests_run_at_the_same_time")


async def test_a_reader_that_is_not_released_is_named() -> None:
    class Deaf(GoodEngine):
        @asynccontextmanager
        async def _generate(
            self, request: Request
        ) -> AsyncGenerator[AsyncIterator[Delta | Finish]]:
            async with super()._generate(request) as stream:
                try:
                    yield stream
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(1.0 if request.sampling.max_tokens > 100 else 0.0)

    assert await fails(Deaf(), "cancellation_leaves_nothing", patience=2.0)


async def test_a_broken_engine_does_not_stop_the_checks() -> None:
    for broken in (OtherIds(), NoFinish(), ShowsTheStop(), TakesAnyLength()):
        report = await check_engine(broken, PROMPTS, patience=0.5)
        assert len(report.passed) + len(report.failed) + len(report.skipped) == len(CHECKS)
        assert not report.ok


async def test_the_report_reads_well() -> None:
    report = await check_engine(NoFinish(), PROMPTS, checks=CHECKS[:1])
    assert str(report) == "failed  one_finish_and_last: the stream ended without a Finish"
    assert not report.ok


class Stumbles(GoodEngine):
    """Each request fails for a moment, the first `times` times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    @asynccontextmanager
    async def generate(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta | Finish]]:
        if self.times:
            self.times -= 1
            raise EngineUnavailable("reset", transient=True, retry_after=0.0)
        async with super().generate(request) as stream:
            yield stream


async def test_a_failure_that_is_temporary_breaks_no_promise() -> None:
    assert not await fails(Stumbles(2), "greedy_twice_the_same")
    assert await fails(Stumbles(99), "greedy_twice_the_same")
