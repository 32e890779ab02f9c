"""The checks of `check_engine`, one for each promise of `sprint_agent.engine`."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol, runtime_checkable

import anyio

from sprint_agent.engine import Delta, Engine, Finish, Request, Sampling
from sprint_agent.errors import ContextTooLong, RequestRefused

_GREEDY = Sampling(max_tokens=24, temperature=0.0)
_LONG = Sampling(max_tokens=400, temperature=0.0)
_CONCURRENT = 8


class BrokenPromise(Exception):
    """A promise was not kept. The message says which one, and what happened instead."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What a check works with."""

    engine: Engine
    """An engine that was entered."""
    prompts: tuple[tuple[int, ...] | str, ...]
    """Prompts that the engine answers with some text."""
    patience: float
    """The most seconds that a check may take."""

    def request(self, sampling: Sampling = _GREEDY, stop: Sequence[str] = ()) -> Request:
        return Request(self.prompts[0], sampling, tuple(stop))


@dataclass(frozen=True, slots=True)
class _Answer:
    """A complete stream."""

    deltas: tuple[Delta, ...]
    finish: Finish

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(token for delta in self.deltas for token in delta.ids)


@runtime_checkable
class _Counting(Protocol):
    """An engine that reports how many requests it still processes."""

    @property
    def in_flight(self) -> int: ...


class NotApplicable(Exception):
    """The check does not apply to this engine."""


Check = Callable[[Bench], Awaitable[None]]
"""Returns if the promise is kept, and raises otherwise."""


async def _read(bench: Bench, request: Request) -> _Answer:
    """Reads a stream to its end, and checks its order: Delta, Delta, …, Finish."""
    deltas: list[Delta] = []
    finish: Finish | None = None
    async with bench.engine.generate(request) as stream:
        async for event in stream:
            _expect(finish is None, f"the stream continued after its Finish with {event!r}")
            if isinstance(event, Finish):
                finish = event
            else:
                deltas.append(event)
    if finish is None:
        raise BrokenPromise("the stream ended without a Finish")
    return _Answer(tuple(deltas), finish)


def _expect(kept: bool, problem: str) -> None:
    if not kept:
        raise BrokenPromise(problem)


async def one_finish_and_last(bench: Bench) -> None:
    """The stream has exactly one Finish, and it is the last event."""
    answer = await _read(bench, bench.request())
    _expect(answer.text != "", "the answer to the first prompt has no text")


async def ids_decode_to_text(bench: Bench) -> None:
    """The joined ids of the deltas decode to their joined text, also at the end of each delta."""
    tokenizer = bench.engine.tokenizer
    answer = await _read(bench, bench.request())
    if tokenizer is None:
        _expect(answer.ids == (), "an engine without a tokenizer returned ids")
        return
    ids: list[int] = []
    text = ""
    for delta in answer.deltas:
        ids += delta.ids
        text += delta.text
        decoded = tokenizer.decode(ids)
        _expect(
            decoded == text,
            f"the ids, which end in {ids[-8:]}, decode to …{decoded[-40:]!r}, "
            f"the deltas have …{text[-40:]!r}",
        )


async def usage_counts(bench: Bench) -> None:
    """Usage counts the prompt and every sampled token. Cached tokens are a part of the prompt."""
    request = bench.request()
    answer = await _read(bench, request)
    usage = answer.finish.usage
    _expect(
        0 <= usage.cached_tokens <= usage.prompt_tokens,
        f"more cached tokens than prompt tokens: {usage}",
    )
    _expect(usage.completion_tokens > 0, "no token was counted for an answer that has text")
    if bench.engine.tokenizer is None:
        return
    length = len(request.prompt)
    _expect(usage.prompt_tokens == length, f"the prompt has {length} tokens, counted: {usage}")
    counted = len(answer.ids) + (answer.finish.reason == "end")
    _expect(usage.completion_tokens == counted, f"{counted} tokens were sampled, counted: {usage}")


async def max_tokens_is_length(bench: Bench) -> None:
    """`max_tokens` ends the answer, with the reason "length"."""
    full = (await _read(bench, bench.request())).finish.usage.completion_tokens
    _expect(full >= 2, "the answer to the first prompt has fewer than 2 tokens")
    limit = max(1, full // 2)
    cut = await _read(bench, bench.request(replace(_GREEDY, max_tokens=limit)))
    _expect(
        cut.finish.reason == "length", f"max_tokens {limit} gave the reason {cut.finish.reason!r}"
    )
    counted = cut.finish.usage.completion_tokens
    _expect(counted == limit, f"{counted} tokens were counted, max_tokens was {limit}")
    _expect(
        cut.finish.stop is None,
        f"the Finish names the stop {cut.finish.stop!r}, but none was given",
    )


async def _check_stop(bench: Bench, full: _Answer, stops: Sequence[str], first: str) -> None:
    """Checks that the stop `first` ends the answer. Without stops, the answer is `full`."""
    answer = await _read(bench, bench.request(stop=stops))
    before = full.text[: full.text.index(first)]
    for delta in answer.deltas:
        _expect(first not in delta.text, f"the delta {delta.text!r} contains the stop {first!r}")
    _expect(
        answer.text == before,
        f"the stop {first!r} cut {full.text!r} to {answer.text!r}, not to {before!r}",
    )
    finish = answer.finish
    _expect(finish.reason == "stop", f"the stop {first!r} gave the reason {finish.reason!r}")
    _expect(finish.stop == first, f"the Finish names {finish.stop!r} for the stop {first!r}")
    tokenizer = bench.engine.tokenizer
    if tokenizer is not None:
        decoded = tokenizer.decode(answer.ids)
        _expect(
            decoded == before,
            f"the ids before the stop {first!r} decode to {decoded!r}, not to {before!r}",
        )
        ends = range(len(full.ids))
        least = next((n for n in ends if first in tokenizer.decode(full.ids[:n])), len(ends))
        counted = finish.usage.completion_tokens
        _expect(
            counted >= least,
            f"the stop {first!r} is complete after {least} tokens, {counted} were counted",
        )


async def _some_text(bench: Bench) -> tuple[_Answer, str]:
    """Returns the greedy answer, and its text up to the first incomplete character."""
    answer = await _read(bench, bench.request())
    text = answer.text.partition("\N{REPLACEMENT CHARACTER}")[0]
    if len(text) < 8:
        raise NotApplicable(f"the answer to the first prompt is too short: {text!r}")
    return answer, text


async def a_stop_ends_the_answer(bench: Bench) -> None:
    """A stop ends the answer before its first character, wherever ids begin and end."""
    full, text = await _some_text(bench)
    for start in range(1, min(len(text) - 1, 9)):
        for length in (1, 2, 3):
            stop = text[start : start + length]
            await _check_stop(bench, full, [stop], stop)


async def a_stop_straddles_ids(bench: Bench) -> None:
    """A stop that begins in the text of one delta and ends in another is in neither."""
    full, text = await _some_text(bench)
    borders = list(accumulate(len(delta.text) for delta in full.deltas))
    inside = [border for border in borders if 2 <= border <= len(text) - 2]
    if not inside:
        raise NotApplicable("the answer came in one delta")
    for border in inside[:4]:
        stop = text[border - 2 : border + 2]
        await _check_stop(bench, full, [stop], stop)


async def the_first_of_several_stops(bench: Bench) -> None:
    """The first of several stops ends the answer. The beginning of a stop alone does not."""
    full, text = await _some_text(bench)
    early, late, false = text[2:5], text[5:8], text[1:4] + "\x00"
    first = min(early, late, key=text.index)
    await _check_stop(bench, full, [false, late, early], first)
    unseen = (await _read(bench, bench.request(stop=["\x00never", false]))).text
    _expect(unseen == full.text, f"stops that never occur changed {full.text!r} to {unseen!r}")


async def requests_run_at_the_same_time(bench: Bench) -> None:
    """A request is answered while others, opened before it, are still unread."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(_CONCURRENT - 1):
            await stack.enter_async_context(bench.engine.generate(bench.request(_LONG)))
        await _read(bench, bench.request())


async def concurrent_answers_are_apart(bench: Bench) -> None:
    """Each of several requests gets the answer to its own prompt."""
    alone = {
        prompt: (await _read(bench, Request(prompt, _GREEDY))).text for prompt in bench.prompts
    }

    async def compare(prompt: tuple[int, ...] | str) -> None:
        text = (await _read(bench, Request(prompt, _GREEDY))).text
        if text != alone[prompt]:
            wrong.append(f"the answer is {text!r} among others, but {alone[prompt]!r} alone")

    wrong: list[str] = []
    async with anyio.create_task_group() as group:
        for number in range(_CONCURRENT):
            group.start_soon(compare, bench.prompts[number % len(bench.prompts)])
    _expect(not wrong, "; ".join(wrong[:1]))


async def greedy_twice_the_same(bench: Bench) -> None:
    """Temperature 0 gives the same answer again."""
    first, second = [await _read(bench, bench.request()) for _ in range(2)]
    _expect(first.text == second.text, f"greedy gave {first.text!r}, then {second.text!r}")


async def same_seed_the_same(bench: Bench) -> None:
    """The same seed gives the same answer again."""
    seeded = Sampling(max_tokens=24, temperature=1.0, seed=7)
    first, second = [await _read(bench, bench.request(seeded)) for _ in range(2)]
    _expect(first.text == second.text, f"seed 7 gave {first.text!r}, then {second.text!r}")


async def _nothing_left(bench: Bench) -> None:
    """Waits until the engine processes no request, if it reports that as `in_flight`."""
    engine: object = bench.engine
    if not isinstance(engine, _Counting):
        raise NotApplicable("the engine has no attribute in_flight")
    with anyio.move_on_after(bench.patience / 2):
        # Polling: most engines can offer a number, and few could offer an event.
        while engine.in_flight != 0:  # noqa: ASYNC110
            await anyio.sleep(0.005)
        return
    raise BrokenPromise(f"{engine.in_flight} requests are still in the engine")


async def leaving_early_leaves_nothing(bench: Bench) -> None:
    """Leaving the context after the first delta, by `break` or by an error, ends the request."""
    async with bench.engine.generate(bench.request(_LONG)) as stream:
        async for _ in stream:
            break
    with contextlib.suppress(ZeroDivisionError):
        async with bench.engine.generate(bench.request(_LONG)):
            raise ZeroDivisionError
    await _nothing_left(bench)


async def cancellation_leaves_nothing(bench: Bench) -> None:
    """A cancelled reader is released at once, and its request ends in the engine."""
    reached: list[str] = []

    async def read_on() -> None:
        async with bench.engine.generate(bench.request(_LONG)) as stream:
            async for event in stream:
                reached.append("end" if isinstance(event, Finish) else "text")
                started.set()

    started = anyio.Event()
    with anyio.move_on_after(bench.patience / 4) as limit:
        async with anyio.create_task_group() as group:
            group.start_soon(read_on)
            await started.wait()
            group.cancel_scope.cancel()
    _expect(not limit.cancelled_caught, "a cancelled reader was not released")
    await _nothing_left(bench)


async def _refused(bench: Bench, request: Request, error: type[Exception], what: str) -> None:
    try:
        async with bench.engine.generate(request):
            pass
    except error:
        return
    raise BrokenPromise(f"{what} was not refused with {error.__name__}")


async def bad_ids_are_refused(bench: Bench) -> None:
    """An id outside the vocabulary is refused on entering. The engine continues to work."""
    tokenizer = bench.engine.tokenizer
    if tokenizer is None:
        raise NotApplicable("the engine takes text")
    for token in (-1, tokenizer.vocab_size, tokenizer.vocab_size + 1_000_000):
        request = replace(bench.request(), prompt=(0, token))
        await _refused(bench, request, RequestRefused, f"the id {token}")
    await _read(bench, bench.request())


async def too_long_prompts_are_refused(bench: Bench) -> None:
    """A prompt as long as the context is refused on entering. The engine continues to work."""
    length = bench.engine.context_length
    prompt = bench.prompts[0]
    if length is None or isinstance(prompt, str):
        raise NotApplicable("the engine takes text or does not know its context length")
    for excess in (0, 1):
        ids = (prompt * (length // len(prompt) + 2))[: length + excess]
        request = replace(bench.request(), prompt=ids)
        await _refused(bench, request, ContextTooLong, f"a prompt of {len(ids)} ids")
    await _read(bench, bench.request())


CHECKS: tuple[Check, ...] = (
    one_finish_and_last,
    ids_decode_to_text,
    usage_counts,
    max_tokens_is_length,
    a_stop_ends_the_answer,
    a_stop_straddles_ids,
    the_first_of_several_stops,
    requests_run_at_the_same_time,
    concurrent_answers_are_apart,
    greedy_twice_the_same,
    same_seed_the_same,
    leaving_early_leaves_nothing,
    cancellation_leaves_nothing,
    bad_ids_are_refused,
    too_long_prompts_are_refused,
)
"""All checks, by name."""
