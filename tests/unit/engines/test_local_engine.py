"""The engine in this process, on a tiny random model that the tests build."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from sprint_agent.countdown import solver
from sprint_agent.engine import Delta, Finish, Request, Sampling
from sprint_agent.engines import LocalEngine
from sprint_agent.errors import ContextTooLong, EngineError, EngineUnavailable, RequestRefused
from sprint_agent.testing.conformance import check_engine

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tests.unit.train.tiny_model import CONTEXT, VOCABULARY, build_model, build_tokenizer  # noqa: E402

pytestmark = pytest.mark.anyio

GREEDY = Sampling(max_tokens=24, temperature=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
async def engine(folder: Path) -> AsyncIterator[LocalEngine]:
    async with LocalEngine(folder, cache_tokens=4096) as entered:
        yield entered


def prompt_of(length: int, seed: int = 0) -> tuple[int, ...]:
    numbers = random.Random(seed)
    return tuple(numbers.randrange(1, 60) for _ in range(length))


async def read(engine: LocalEngine, request: Request) -> tuple[str, tuple[int, ...], Finish]:
    text, ids = "", ()
    async with engine.generate(request) as stream:
        async for event in stream:
            if isinstance(event, Finish):
                return text, ids, event
            text, ids = text + event.text, ids + event.ids
    raise AssertionError("no Finish")


def steps(engine: LocalEngine) -> int:
    batcher: Any = engine._batcher
    return batcher._manager.current_batch


async def until_idle(engine: LocalEngine) -> None:
    with anyio.fail_after(20):
        while engine.in_flight:  # noqa: ASYNC110
            await anyio.sleep(0.002)


def plain_greedy(folder: Path, prompt: tuple[int, ...], count: int) -> list[int]:
    """Returns the ids that transformers' own generate samples, with its own attention."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([prompt])
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=count,
        suppress_tokens=list(range(VOCABULARY, VOCABULARY + 8)),
    )
    return out[0, len(prompt) :].tolist()


async def test_conformance(engine: LocalEngine) -> None:
    prompts = [
        tuple(engine.tokenizer.encode(text)) for text in ("use the numbers", "the plan: <p>")
    ]
    report = await check_engine(engine, prompts)
    assert report.ok, str(report)
    assert report.skipped == (), str(report)


@pytest.mark.parametrize("length", [1, 40, 300])
async def test_greedy_ids_are_those_of_transformers(
    engine: LocalEngine, folder: Path, length: int
) -> None:
    prompt = prompt_of(length)
    expected = plain_greedy(folder, prompt, 40)
    _, ids, finish = await read(engine, Request(prompt, Sampling(40, temperature=0.0)))
    assert ids == tuple(token for token in expected if token != 0)
    assert finish.usage.completion_tokens == len(expected)


async def test_concurrent_requests_get_the_ids_of_single_ones(
    engine: LocalEngine, folder: Path
) -> None:
    prompts = [prompt_of(10 + 9 * seed, seed) for seed in range(30)]
    answers: dict[int, tuple[int, ...]] = {}

    async def ask(number: int) -> None:
        _, answers[number], _ = await read(engine, Request(prompts[number], GREEDY))

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(ask, number)
    for number in (0, 7, 29):
        expected = plain_greedy(folder, prompts[number], 24)
        assert answers[number] == tuple(token for token in expected if token != 0)
    await until_idle(engine)


async def test_prompts_that_do_not_fit_the_cache_together_wait(folder: Path) -> None:
    async with LocalEngine(folder, cache_tokens=CONTEXT + 64) as engine:
        finishes: list[Finish] = []

        async def ask(seed: int) -> None:
            request = Request(prompt_of(400, seed), Sampling(60, temperature=0.0))
            finishes.append((await read(engine, request))[2])

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for seed in range(8):
                    group.start_soon(ask, seed)
        assert len(finishes) == 8
        assert all(f.reason == "end" or f.usage.completion_tokens == 60 for f in finishes)


async def test_answers_returned_to_the_queue_for_lack_of_cache_continue_the_same(
    folder: Path,
) -> None:
    # Eight requests that fit at first but not when they grow. Some are returned to the queue and
    # computed again.
    requests = [
        Request(prompt_of(20, seed), Sampling(200, temperature=1.0, seed=seed)) for seed in range(8)
    ]

    async def answers(cache_tokens: int) -> dict[int, str]:
        texts: dict[int, str] = {}

        async def ask(number: int) -> None:
            request = Request(requests[number].prompt, requests[number].sampling)
            texts[number], _, _ = await read(engine, request)

        async with LocalEngine(folder, cache_tokens=cache_tokens) as engine:
            with anyio.fail_after(60):
                async with anyio.create_task_group() as group:
                    for number in range(8):
                        group.start_soon(ask, number)
        return texts

    assert await answers(512) == await answers(8192)


async def test_a_shared_prefix_is_not_computed_again(engine: LocalEngine) -> None:
    prompt = prompt_of(100)
    _, _, first = await read(engine, Request(prompt, GREEDY))
    _, _, second = await read(engine, Request((*prompt, 5, 6, 7), GREEDY))
    assert first.usage.cached_tokens == 0
    assert second.usage.cached_tokens == 96


@pytest.mark.parametrize("top_p", [1.0, 0.9])
async def test_a_seed_samples_the_same_among_other_requests(
    engine: LocalEngine, folder: Path, top_p: float
) -> None:
    sampling = Sampling(max_tokens=40, temperature=1.0, top_p=top_p, seed=11)
    alone, _, _ = await read(engine, Request(prompt_of(300), sampling))
    texts: list[str] = []

    async def ask(crowded: LocalEngine, prompt: int, seed: int | None, temperature: float) -> None:
        own = Sampling(40, temperature=temperature, top_p=top_p, seed=seed)
        text, _, _ = await read(crowded, Request(prompt_of(300, prompt), own))
        texts.append(text)

    # Prompts that are not in the cache fill several steps. So they are cut, while other requests
    # sample tokens.
    async with LocalEngine(folder) as crowded, anyio.create_task_group() as group:
        for number, (seed, temperature) in enumerate([(1, 1.0), (11, 1.0), (None, 2.0), (3, 0.0)]):
            group.start_soon(ask, crowded, 0 if seed == 11 else number + 1, seed, temperature)
    assert texts.count(alone) == 1
    assert len(set(texts)) == 4


async def test_a_top_p_close_to_zero_is_greedy(engine: LocalEngine) -> None:
    greedy = await read(engine, Request(prompt_of(30), GREEDY))
    narrow = Sampling(max_tokens=24, temperature=1.0, top_p=1e-6, seed=1)
    assert (await read(engine, Request(prompt_of(30), narrow)))[0] == greedy[0]


async def test_the_end_of_sequence_id_is_not_in_the_answer(engine: LocalEngine) -> None:
    sampling = Sampling(max_tokens=CONTEXT, temperature=3.0, seed=1)
    _, ids, finish = await read(engine, Request(prompt_of(10), sampling))
    assert finish.reason == "end"
    assert 0 not in ids
    assert finish.usage.completion_tokens == len(ids) + 1


async def test_max_tokens_is_bounded_by_the_context(engine: LocalEngine) -> None:
    prompt = prompt_of(CONTEXT - 3)
    sampling = Sampling(max_tokens=8_000, temperature=0.0)
    _, _, finish = await read(engine, Request(prompt, sampling))
    assert finish.reason == "length"
    assert finish.usage.completion_tokens == 3


async def test_one_answer_may_fill_a_cache_that_is_smaller_than_the_context(folder: Path) -> None:
    async with LocalEngine(folder, cache_tokens=256) as engine:
        sampling = Sampling(max_tokens=8_000, temperature=1.0, seed=1)
        _, ids, finish = await read(engine, Request(prompt_of(100), sampling))
        assert finish.reason == "length"
        assert 100 + len(ids) == engine.context_length == 240


async def test_a_cancelled_reader_ends_its_request_and_no_other(engine: LocalEngine) -> None:
    long = Sampling(max_tokens=CONTEXT, temperature=1.0, seed=2)
    scopes: dict[int, anyio.CancelScope] = {}
    finished: list[int] = []

    async def ask(number: int) -> None:
        with anyio.CancelScope() as scopes[number]:
            async with engine.generate(Request(prompt_of(20, number), long)) as stream:
                async for _ in stream:
                    if number % 2:
                        scopes[number].cancel()
            finished.append(number)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(ask, number)
    assert sorted(finished) == [0, 2, 4, 6, 8]
    await until_idle(engine)


async def test_leaving_early_ends_the_request_within_a_few_steps(engine: LocalEngine) -> None:
    long = Sampling(max_tokens=CONTEXT, temperature=1.0, seed=2)
    async with engine.generate(Request(prompt_of(20), long)) as stream:
        await anext(stream)
        left_at = steps(engine)
    await until_idle(engine)
    # The answer has 400 more ids. A few are sampled if this thread is delayed before it leaves.
    assert steps(engine) - left_at < 50


async def test_a_stop_ends_the_request_in_the_manager(engine: LocalEngine) -> None:
    text, _, _ = await read(engine, Request(prompt_of(30), GREEDY))
    long = Sampling(max_tokens=CONTEXT, temperature=0.0)
    async with engine.generate(Request(prompt_of(30), long, stop=(text[2:4],))) as stream:
        begun_at = steps(engine)
        events = [event async for event in stream]
        # Still inside the context: the stop ended the request, and not leaving the context.
        await until_idle(engine)
    assert steps(engine) - begun_at < 100
    assert isinstance(events[-1], Finish)
    assert events[-1].reason == "stop"


async def test_a_failing_step_ends_every_stream(engine: LocalEngine) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the model broke")

    errors: list[str] = []

    async def ask() -> None:
        long = Sampling(max_tokens=CONTEXT, temperature=1.0)
        try:
            async with engine.generate(Request(prompt_of(20), long)) as stream:
                async for event in stream:
                    if isinstance(event, Delta):
                        model.forward = fail
        except EngineError as error:
            errors.append(str(error))

    batcher: Any = engine._batcher
    model = batcher._manager.model
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)
    assert len(errors) == 5
    assert all("the model broke" in error for error in errors)
    with pytest.raises(EngineError, match="the model broke"):
        await read(engine, Request(prompt_of(20), GREEDY))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_thread_that_vanishes_ends_every_stream(engine: LocalEngine) -> None:
    def vanish(*_: object, **__: object) -> None:
        # It is not an Exception, so the manager's own handler does not catch it.
        raise SystemExit

    batcher: Any = engine._batcher
    batcher._manager.model.forward = vanish
    with (
        anyio.fail_after(20),
        pytest.raises(EngineError, match="failed: it ended without an error"),
    ):
        await read(engine, Request(prompt_of(20), GREEDY))
    assert engine.in_flight == 0


async def test_leaving_the_engine_ends_its_streams_and_thread(folder: Path) -> None:
    long = Sampling(max_tokens=CONTEXT, temperature=1.0, seed=3)
    async with LocalEngine(folder) as engine:
        stream = await engine.generate(Request(prompt_of(20), long)).__aenter__()
        batcher: Any = engine._batcher
        thread = batcher._manager._generation_thread
    with anyio.fail_after(20), pytest.raises(EngineUnavailable, match="was left"):
        async for _ in stream:
            pass
    assert not thread.is_alive()
    with pytest.raises(EngineUnavailable, match="not entered"):
        await read(engine, Request(prompt_of(20)))
    async with engine:
        await read(engine, Request(prompt_of(20), GREEDY))


async def test_an_invalid_request_is_refused(engine: LocalEngine) -> None:
    refusals: list[tuple[Request, type[Exception], str]] = [
        (Request("text", GREEDY), RequestRefused, "takes ids"),
        (Request((), GREEDY), RequestRefused, "empty"),
        (Request((1, 60, VOCABULARY), GREEDY), RequestRefused, "outside"),
        (Request((-1,), GREEDY), RequestRefused, "outside"),
        (Request((1,) * CONTEXT, GREEDY), ContextTooLong, "shorten"),
        (Request((1,), Sampling(max_tokens=0)), RequestRefused, "max_tokens"),
        (Request((1,), Sampling(temperature=-0.1)), RequestRefused, "temperature"),
        (Request((1,), Sampling(temperature=float("nan"))), RequestRefused, "temperature"),
        (Request((1,), Sampling(top_p=0.0)), RequestRefused, "top_p"),
        (Request((1,), GREEDY, stop=("",)), RequestRefused, "stop string is empty"),
    ]
    for request, error, message in refusals:
        with pytest.raises(error, match=message):
            async with engine.generate(request):
                pass
    assert engine.in_flight == 0


async def test_a_request_id_in_use_is_refused(engine: LocalEngine) -> None:
    request = Request(prompt_of(20), Sampling(max_tokens=CONTEXT))
    async with engine.generate(request):
        with pytest.raises(RequestRefused, match="running already"):
            async with engine.generate(request):
                pass


async def test_a_folder_without_a_model_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"no config\.json and no tokenizer\.json"):
        await LocalEngine(tmp_path).__aenter__()


async def test_the_error_for_a_broken_model_folder_is_one_line(tmp_path: Path) -> None:
    build_tokenizer().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    with pytest.raises(EngineUnavailable) as caught:
        await LocalEngine(tmp_path).__aenter__()
    assert "\n" not in str(caught.value)


async def test_the_error_for_missing_torch_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "sprint_agent.engines.local.batcher", raising=False)
    monkeypatch.delattr("sprint_agent.engines.local.batcher", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineUnavailable, match=r'pip install "\.\[local\]"'):
        await LocalEngine(folder).__aenter__()


@pytest.fixture(autouse=True)
def threads_end() -> Iterator[None]:
    """Checks that no test leaves a batching thread running."""
    yield
    batching = [t.name for t in threading.enumerate() if "_run_generation_loop" in t.name]
    assert batching == []


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_under_trio_it_says_that_it_needs_asyncio(anyio_backend: str) -> None:
    with pytest.raises(EngineUnavailable, match="the local engine needs asyncio"):
        await LocalEngine(solver.MODEL).__aenter__()
