"""The prefix cache benchmark: the calls that it counts, and a planner whose request is split."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from shutil import which

import pytest

import benchmarks.__main__ as command
from benchmarks import prefix, tables
from benchmarks.prefix import MODES, CallUsage, CountingEngine, ModeRun, SplittingEngine
from benchmarks.sglang_server import sglang_server
from sprint_agent import EngineUnavailable, Sprint
from sprint_agent.countdown import Puzzle, solver
from sprint_agent.engine import Delta, Finish, Request, Sampling, TokenUsage
from sprint_agent.protocol import tags
from sprint_agent.testing import ScriptedEngine
from sprint_agent.tokenizer import FileTokenizer
from tests.script import execution_of

PUZZLE = Puzzle((3, 1, 7, 5), 10)
PLAN = tags.plan(1, [tags.prompt(1, n, f"{n} + 3, and 7, 8") for n in (1, 2, 3)])
ANSWER = tags.answer("7 + 5 - 3 + 1")


@dataclass
class Planner:
    """Continues the plan from the end of the prompt."""

    opening: str = tags.opening(PUZZLE.question)
    prompts: list[str] = field(default_factory=list[str])

    def __call__(self, prompt: str) -> str:
        if execution_of(prompt):
            return "3 + 7 = 10\n</execution_"
        self.prompts.append(prompt)
        written = prompt.removeprefix(self.opening)
        if "</Execution_1>" in written:
            return f"{ANSWER}</Final_answer>"
        assert PLAN.startswith(written)
        return PLAN[len(written) :] + "</Plan_1>"


def countdown_engine(planner: Planner) -> ScriptedEngine:
    return ScriptedEngine(planner, tokenizer=FileTokenizer.load(solver.MODEL))


@pytest.mark.anyio
async def test_a_split_planner_generates_the_same_ids() -> None:
    engine = countdown_engine(Planner())
    assert engine.tokenizer is not None
    encode = engine.tokenizer.encode
    request = Request(tuple(encode(Planner.opening)), Sampling(), tags.PLANNER_STOPS)
    async with SplittingEngine(engine).generate(request) as stream:
        *deltas, finish = [event async for event in stream]
    assert all(isinstance(delta, Delta) and delta.text for delta in deltas)
    ids = [token for delta in deltas if isinstance(delta, Delta) for token in delta.ids]
    assert ids == encode(PLAN)
    assert isinstance(finish, Finish)
    assert (finish.reason, finish.stop) == ("stop", "</Plan_")
    assert [request.prompt[: len(engine.requests[0].prompt)] for request in engine.requests] == [
        engine.requests[0].prompt
    ] * 4
    assert finish.usage.prompt_tokens == sum(len(request.prompt) for request in engine.requests)


@pytest.mark.anyio
async def test_a_run_with_a_split_planner_is_the_same_run() -> None:
    unsplit = await Sprint(countdown_engine(Planner())).solve(PUZZLE.question)
    planner = Planner()
    engine = countdown_engine(planner)
    counting = CountingEngine(engine)
    result = await Sprint(SplittingEngine(counting)).solve(PUZZLE.question)
    assert result.text == unsplit.text
    assert len(planner.prompts) == 3 + 1 + 1
    assert [call.planner for call in counting.calls].count(False) == 3
    assert len(counting.calls) == len(engine.requests)


@pytest.mark.anyio
async def test_a_split_planner_keeps_its_token_limit() -> None:
    request = Request(tuple(map(ord, Planner.opening)), Sampling(max_tokens=50), tags.PLANNER_STOPS)
    async with SplittingEngine(ScriptedEngine(Planner())).generate(request) as stream:
        events = [event async for event in stream]
    finish = events[-1]
    assert isinstance(finish, Finish)
    assert finish.reason == "length"
    assert finish.usage.completion_tokens <= 50


@pytest.mark.anyio
async def test_a_closing_tag_without_an_open_prompt_is_left_to_the_parser() -> None:
    request = Request((65,), Sampling(), tags.PLANNER_STOPS)
    engine = ScriptedEngine(lambda prompt: "x </prompt_1.1> y")
    async with SplittingEngine(engine).generate(request) as stream:
        events = [event async for event in stream]
    assert events[-1] == Finish("stop", TokenUsage(1, 2 + len("</prompt_")), "</prompt_")
    assert len(engine.requests) == 1


@pytest.mark.anyio
async def test_every_puzzle_is_run_in_every_mode_on_an_empty_cache() -> None:
    flushed: list[int] = []
    engine = countdown_engine(Planner())

    async def flush() -> None:
        flushed.append(len(engine.requests))

    runs = [run async for run in prefix.measure([PUZZLE, PUZZLE], engine, flush)]
    assert [run.mode for run in runs] == [*MODES, *MODES]
    assert flushed == [0, 5, 10, 18, 23, 28]
    assert all(run.right for run in runs)


def test_the_summary_of_a_mode() -> None:
    calls = (
        CallUsage(True, TokenUsage(100, 20, 10)),
        CallUsage(False, TokenUsage(120, 9, 115)),
        CallUsage(False, TokenUsage(130, 9, 115)),
    )
    runs = [
        ModeRun("tag", calls, 2.0, True),
        ModeRun("tag", calls, 4.0, False),
        ModeRun("tag", (), 0.0, None),
    ]
    summary = prefix.summarize(runs)
    assert (summary.problems, summary.errors) == (3, 1)
    assert summary.uncached == 110
    assert (summary.uncached_executor_call, summary.uncached_planner_call) == (10, 90)
    assert (summary.executor_calls, summary.planner_calls) == (2, 1)
    assert summary.prompt_tokens == 350
    assert summary.accuracy == pytest.approx(1 / 3)
    assert summary.seconds_median == 3.0
    value = prefix.to_json({"tag": summary})
    assert value["uncached_tokens_per_problem"] == {"tag": 110}
    assert tables.prefix("puzzles", {"tag": summary}).row_count == 1


def test_a_url_or_an_interpreter_is_required() -> None:
    with pytest.raises(ValueError, match="--url"):
        command.prefix()


def test_a_server_that_ends_while_it_starts_is_reported() -> None:
    with (
        pytest.raises(EngineUnavailable, match="did not start"),
        sglang_server(Path(which("false") or ""), solver.MODEL),
    ):
        pass
