"""Runs that fail: what was finished is kept, and a failure hides nothing that counts more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from sprint_agent import (
    ContextTooLong,
    EngineError,
    EngineUnavailable,
    Event,
    Execution,
    Limits,
    PlanError,
    Result,
    RunFailed,
    Sprint,
    SprintError,
    Trace,
    first_success,
)
from sprint_agent.engine import AlwaysOpen, Delta, Finish, Request
from sprint_agent.testing import Reply, ScriptedEngine
from tests.script import Continuing, Scripted, answer, plan

pytestmark = pytest.mark.anyio


async def events_of(agent: Sprint, seen: list[Event]) -> None:
    async with agent.stream("What?") as run:
        async for event in run:
            seen.append(event)


def fails_later(error: Exception) -> ScriptedEngine:
    """Returns an engine that plans one stage, and fails in the middle of the next turn."""
    turns: list[str | Reply] = [plan("a", "b"), Reply("So far", error=error)]
    return ScriptedEngine(Scripted(turns))


ERRORS = [EngineUnavailable("gone"), ContextTooLong("full"), EngineError("odd"), KeyError("mine")]


class TestPartialResults:
    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
    async def test_what_was_finished_comes_with_the_error(self, error: Exception) -> None:
        seen: list[Event] = []
        with pytest.raises(type(error)) as raised:
            await events_of(Sprint(fails_later(error)), seen)
        failed = seen[-1]
        assert isinstance(failed, RunFailed)
        assert failed.error == f"{type(error).__name__}: {error}"
        partial = failed.result
        assert (partial.answer, partial.limit) == (None, None)
        assert [e.text for e in partial.stages[0].executions] == ["did 1.1\n", "did 1.2\n"]
        # The tokens of the turn that failed count too.
        assert partial.answer_usage.completion_tokens == len("So far")
        if isinstance(raised.value, SprintError):
            assert raised.value.result == partial

    async def test_a_stage_that_was_not_finished_is_part_of_it(self) -> None:
        written = plan("a", "b").removesuffix("</Plan_1>")
        turns: list[str | Reply] = [Reply(written, error=EngineError("odd"))]
        hangs = Reply("on", hang=True)
        engine = ScriptedEngine(Scripted(turns, {(1, 1): hangs, (1, 2): hangs}))
        with pytest.raises(EngineError) as raised:
            await Sprint(engine).solve("What?")
        assert raised.value.result is not None
        (stage,) = raised.value.result.stages
        assert [e.status for e in stage.executions] == ["stopped", "stopped"]

    async def test_a_check_that_raises(self) -> None:
        def check(execution: Execution) -> bool:
            raise ZeroDivisionError(execution.text)

        seen: list[Event] = []
        turns: list[str | Reply] = [plan("a"), answer("42")]
        agent = Sprint(ScriptedEngine(Scripted(turns)), join=first_success(check))
        with pytest.raises(ZeroDivisionError):
            await events_of(agent, seen)
        assert isinstance(seen[-1], RunFailed)
        assert seen[-1].result.stages[0].executions[0].status == "done"

    async def test_a_trace_says_why_its_run_failed_and_is_resumed(self, tmp_path: Path) -> None:
        trace, turns = tmp_path / "run.jsonl", [plan("a", "b"), answer("42")]
        script = Continuing(turns)
        broken = EngineUnavailable("gone")

        def breaks(prompt: str) -> Reply:
            return Reply(script(prompt)[:9], error=broken if "Execution_1" in prompt else None)

        def works_or_breaks(prompt: str) -> str | Reply:
            return breaks(prompt) if "</Execution_1>" in prompt else script(prompt)

        with pytest.raises(EngineUnavailable):
            await Sprint(ScriptedEngine(works_or_breaks)).solve("What?", trace=trace)
        recorded = Trace.read(trace)
        assert recorded.error == "EngineUnavailable: gone"
        assert recorded.result is None
        engine = ScriptedEngine(script)
        result = await Sprint(engine).resume(trace)
        assert result.answer == "42"
        assert len(engine.requests) == 1
        assert Trace.read(trace).error is None


class TestAnswers:
    async def solve(self, *turns: str | Reply) -> tuple[Result, ScriptedEngine]:
        engine = ScriptedEngine(Scripted(list(turns)))
        return await Sprint(engine).solve("What?"), engine

    async def test_an_answer_in_the_format_has_no_fault(self) -> None:
        result, _ = await self.solve(plan("a"), answer("42"))
        assert (result.answer, result.fault) == ("42", None)

    @pytest.mark.parametrize("empty", ["", " \n", "\\boxed{}", "\\boxed{ }\n</Final_answer>"])
    async def test_an_empty_answer_is_written_again_once(self, empty: str) -> None:
        result, engine = await self.solve(f"<Final_answer>{empty}", answer("42"))
        assert (result.answer, result.fault) == ("42", None)
        assert [r.complaint for r in engine.requests] == [None, "the final answer is empty"]
        with pytest.raises(PlanError, match="the final answer is empty") as raised:
            await self.solve(f"<Final_answer>{empty}", f"<Final_answer>{empty}")
        assert raised.value.text.startswith("<Final_answer>")

    async def test_no_reply_at_all_is_no_answer(self) -> None:
        with pytest.raises(PlanError, match="empty"):
            await self.solve("", "", "")
        result, _ = await self.solve("", "", "42")
        assert result.answer == "42"
        assert result.fault == "a turn of the planner had neither a plan nor a final answer"

    async def test_free_text_is_asked_for_an_answer_and_says_so(self) -> None:
        result, _ = await self.solve("It is 42.", "42\n</Final_answer>")
        assert result.answer == "42"
        assert result.fault == "a turn of the planner had neither a plan nor a final answer"

    @pytest.mark.parametrize("tag", ["<Plan_3>", "<prompt_1.1>", "</execution_1.2>"])
    async def test_an_answer_that_contains_a_plan_is_written_again_once(self, tag: str) -> None:
        bad = f"<Final_answer>\n{tag} first\n"
        result, _ = await self.solve(bad, answer("42"))
        assert (result.answer, result.fault) == ("42", None)
        result, _ = await self.solve(bad, bad)
        assert result.answer == f"{tag} first"
        assert result.fault is not None
        assert result.fault.startswith("the final answer contains the tag ")
        assert result.to_json()["fault"] == result.fault

    async def test_a_forced_answer_that_is_a_plan(self) -> None:
        turns: list[str | Reply] = [plan("a"), plan("b", stage=2), answer("42")]
        agent = Sprint(ScriptedEngine(Scripted(turns)), limits=Limits(stages=2))
        assert (await agent.solve("What?")).answer == "42"


class Spiteful(AlwaysOpen):
    """An engine that fails with another error when it is cancelled.

    At the step `at` of all its calls it calls `reached`, and hangs.
    """

    def __init__(
        self, engine: ScriptedEngine, at: int = 10**9, reached: Callable[[], object] = object
    ) -> None:
        self.engine = engine
        self.tokenizer = engine.tokenizer
        self.context_length = None
        self.steps = 0
        self.at = at
        self.reached = reached

    @asynccontextmanager
    async def generate(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta | Finish]]:
        try:
            await self.step()
            async with self.engine.generate(request) as stream:
                yield self.stream(stream)
                await self.step()
        except anyio.get_cancelled_exc_class() as error:
            raise EngineUnavailable("the connection broke") from error

    async def stream(self, stream: AsyncIterator[Delta | Finish]) -> AsyncGenerator[Delta | Finish]:
        try:
            async for event in stream:
                await self.step()
                yield event
        except anyio.get_cancelled_exc_class() as error:
            raise EngineUnavailable("the connection broke") from error

    async def step(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            self.reached()
            await anyio.sleep_forever()


def two_stages() -> ScriptedEngine:
    return ScriptedEngine(Scripted([plan("a", "b"), plan("c", stage=2), answer("42")]), chunk=12)


async def steps_of(solve: Callable[[Spiteful], Awaitable[object]]) -> int:
    engine = Spiteful(two_stages())
    await solve(engine)
    return engine.steps


class TestPrecedence:
    """A cancellation, a deadline and a success count more than an engine that fails at that moment."""

    async def test_a_cancellation_at_every_step(self) -> None:
        async def solve(engine: Spiteful) -> Any:
            return await Sprint(engine).solve("What?")

        for at in range(1, await steps_of(solve) + 1):
            with anyio.CancelScope() as scope:
                await solve(Spiteful(two_stages(), at, scope.cancel))
            assert scope.cancelled_caught, at

    async def test_a_cancellation_of_asyncio_at_every_step(self) -> None:
        async def solve(engine: Spiteful) -> Any:
            return await Sprint(engine).solve("What?")

        for at in range(1, await steps_of(solve) + 1):
            engine = Spiteful(two_stages(), at)
            task = asyncio.ensure_future(solve(engine))
            engine.reached = task.cancel
            with pytest.raises(asyncio.CancelledError):
                await task

    async def test_a_deadline_at_every_step(self) -> None:
        async def solve(engine: Spiteful, limits: Limits = Limits()) -> Result:
            return await Sprint(engine, limits=limits).solve("What?")

        for at in range(1, await steps_of(solve) + 1):
            result = await solve(Spiteful(two_stages(), at), Limits(deadline=0.02))
            assert (result.limit, result.answer) == ("deadline", None), at

    async def test_a_success_at_every_step_of_the_others(self) -> None:
        """The first execution succeeds when the planner, or the other execution, hangs somewhere."""

        def agent(engine: Spiteful) -> Sprint:
            return Sprint(engine, join=first_success(lambda e: "hit" in e.text))

        def scripted(release: anyio.Event | None) -> ScriptedEngine:
            hit = Reply("hit\n</execution_", after=release)
            turns: list[str | Reply] = [plan("a", "b", "c"), answer("42")]
            return ScriptedEngine(Scripted(turns, {(1, 1): hit}), chunk=12)

        free = Spiteful(scripted(None))
        await agent(free).solve("What?")
        before_prompt = 8
        for at in range(before_prompt, free.steps):
            release = anyio.Event()
            engine = Spiteful(scripted(release), at, release.set)
            with anyio.move_on_after(0.2):
                # If the execution itself or the last turn hangs, nothing can succeed.
                result = await agent(engine).solve("What?")
                assert result.answer == "42", at
                assert result.stages[0].accepted is not None
