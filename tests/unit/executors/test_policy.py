"""Policies around an executor: timeout, retries, places, fallback, and results that are kept."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprint_agent import (
    Execution,
    Executor,
    LimitReached,
    Limits,
    Policy,
    PromptError,
    Sprint,
    Task,
    executor,
    with_policy,
)
from sprint_agent.errors import BudgetExhausted
from sprint_agent.executors import ModelExecutor, policy
from sprint_agent.testing import ScriptedEngine
from tests.script import Scripted, a_task, answer, executed, plan

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "FIRST_PAUSE", 0.0)


class Works:
    """An executor that raises what it is told to, then answers; it keeps count."""

    description = "Works."
    schema = None

    def __init__(self, *errors: Exception, name: str = "works") -> None:
        self.name = name
        self.errors = list(errors)
        self.calls: Counter[str] = Counter()
        self.running = self.most = 0

    async def execute(self, task: Task) -> str:
        self.calls[task.prompt] += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await anyio.lowlevel.checkpoint()
            if self.errors:
                raise self.errors.pop(0)
            return f"{self.name}: {task.prompt}"
        finally:
            self.running -= 1


async def one(made: Executor, text: str = "x") -> Execution:
    (execution,) = await executed(made, tasks=[(made.name, text)])
    return execution


@pytest.mark.parametrize(
    "bound", [{"timeout": 0}, {"timeout": -1}, {"concurrency": 0}, {"retries": -1}]
)
def test_a_bound_must_be_positive(bound: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(bound))):
        Policy(**bound)


def test_an_executor_keeps_its_face() -> None:
    @executor(policy=Policy(retries=1))
    async def total(numbers: list[int]) -> str:
        """Adds."""
        return str(sum(numbers))

    assert (total.name, total.description) == ("total", "Adds.")
    assert total.schema == {"items": {"type": "integer"}, "type": "array"}


class TestTimeout:
    async def test_an_execution_that_takes_too_long_fails_and_its_siblings_live(self) -> None:
        @executor(policy=Policy(timeout=0.05))
        async def hangs(prompt: str) -> str:
            await anyio.sleep_forever()
            return prompt

        first, second = await executed(hangs, tasks=[("hangs", "x"), (None, "y")])
        assert first.error == "TimeoutError: hangs took longer than 0.05 s"
        assert second.status == "done"

    async def test_it_counts_from_the_start_and_not_from_queueing(self) -> None:
        works = Works()
        bounded = with_policy(works, Policy(timeout=0.5, concurrency=1))
        async with anyio.create_task_group() as group, bounded._state().places:  # type: ignore
            group.start_soon(bounded.execute, a_task("x"))
            await anyio.sleep(0.6)
            assert not works.calls
        assert works.calls["x"] == 1

    async def test_the_task_sees_it_as_what_is_left(self) -> None:
        @executor(policy=Policy(timeout=30))
        async def asks(task: Task) -> str:
            left = task.remaining().seconds
            assert left is not None
            return str(left <= 30)

        assert (await one(asks)).text == "True"

    async def test_a_timeout_of_the_executor_s_own_stays_as_it_is(self) -> None:
        works = Works(TimeoutError("mine"))
        assert (await one(with_policy(works, Policy(timeout=60)))).error == "TimeoutError: mine"


class TestRetries:
    async def test_an_attempt_that_fails_is_made_again(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        works = Works(OSError("a"), OSError("b"))
        assert (await one(with_policy(works, Policy(retries=2)))).text == "works: x"
        assert works.calls["x"] == 3
        assert "works failed at attempt 2: OSError('b')" in caplog.text

    async def test_the_last_error_is_the_execution_s(self) -> None:
        works = Works(OSError("a"), OSError("b"), OSError("c"))
        execution = await one(with_policy(works, Policy(retries=1)))
        assert execution.error == "OSError: b"
        assert works.calls["x"] == 2

    async def test_a_prompt_that_cannot_be_taken_is_not_tried_again(self) -> None:
        works, other = Works(PromptError("no")), Works(name="other")
        execution = await one(with_policy(works, Policy(retries=3, fallback=other)))
        assert execution.error == "PromptError: no"
        assert works.calls["x"] == 1
        assert not other.calls

    @pytest.mark.parametrize(("limit", "tries"), [("tokens", 1), ("cost", 1), ("deadline", 2)])
    async def test_a_nested_run_is_tried_again_if_it_was_slow_but_not_if_it_used_up_its_budget(
        self, limit: str, tries: int
    ) -> None:
        result = await Sprint(ScriptedEngine(Scripted([answer("1")]))).solve("What?")
        nested = Works(*[LimitReached("over", limit=limit, result=result)] * 2)
        other = Works(name="other")
        await one(with_policy(nested, Policy(retries=1, fallback=other)))
        assert (nested.calls["x"], other.calls["x"]) == (tries, tries - 1)

    async def test_each_pause_is_longer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        paused: list[float] = []

        async def sleep(seconds: float) -> None:
            paused.append(seconds)

        monkeypatch.setattr(policy, "FIRST_PAUSE", 1.0)
        monkeypatch.setattr(anyio, "sleep", sleep)
        works = Works(*[OSError()] * 4)
        await with_policy(works, Policy(retries=4)).execute(a_task("x"))
        assert paused == [1.0, 2.0, 4.0, policy.LONGEST_PAUSE]

    async def test_a_budget_that_is_used_up_is_not_tried_again(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        agent = Sprint(
            ScriptedEngine(Scripted([plan("model: x", "model: y")])),
            executors=[
                with_policy(ModelExecutor(), Policy(retries=5, pure=True, fallback=Works()))
            ],
            limits=Limits(tokens=len(plan("model: x", "model: y")) + 3),
        )
        result = await agent.solve("What?")
        assert result.limit == "tokens"
        errors = [e.error for e in result.stages[0].executions]
        assert errors == ["the run's limit on tokens is reached"] * 2
        assert not caplog.records


class TestFallback:
    async def test_it_takes_over_when_the_attempts_have_failed(self) -> None:
        works, other = Works(OSError("a"), OSError("b")), Works(name="other")
        execution = await one(with_policy(works, Policy(retries=1, fallback=other)))
        assert (execution.executor, execution.text) == ("works", "other: x")

    async def test_what_it_raises_is_the_execution_s(self) -> None:
        works, other = Works(OSError("a")), Works(OSError("b"), name="other")
        assert (await one(with_policy(works, Policy(fallback=other)))).error == "OSError: b"

    async def test_the_model_may_be_one(self) -> None:
        works = with_policy(Works(OSError("a")), Policy(fallback=ModelExecutor()))
        execution = await one(works)
        assert execution.text == "did 1.1\n"
        assert execution.usage.completion_tokens > 0

    async def test_its_result_is_not_kept_as_the_executor_s(self) -> None:
        works, other = Works(OSError("a")), Works(name="other")
        both = with_policy(works, Policy(pure=True, fallback=other))
        assert [await both.execute(a_task("x")) for _ in range(2)] == ["other: x", "works: x"]


class TestConcurrency:
    async def test_it_bounds_the_executions_of_all_runs(self) -> None:
        works = Works()
        bounded = with_policy(works, Policy(concurrency=2))
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(_run, bounded)
        assert works.most == 2
        assert works.calls.total() == 12

    async def test_a_place_is_free_again_whatever_happened(self) -> None:
        works = Works(OSError("a"))
        bounded = with_policy(works, Policy(concurrency=1))
        with pytest.raises(OSError, match="a"):
            await bounded.execute(a_task("x"))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await bounded.execute(a_task("x"))
        assert await bounded.execute(a_task("x")) == "works: x"


async def _run(made: Executor) -> None:
    await executed(made, tasks=[(made.name, str(n)) for n in range(4)])


def test_a_policy_outlives_event_loops() -> None:
    works = Works()
    bounded = with_policy(works, Policy(concurrency=1, pure=True))

    async def crowd() -> None:
        async with anyio.create_task_group() as group:
            for n in range(4):
                group.start_soon(bounded.execute, a_task(str(n % 2)))

    for _ in range(2):
        asyncio.run(crowd())
    assert works.most == 1
    assert works.calls == {"0": 2, "1": 2}


class TestPure:
    async def test_equal_prompts_are_worked_on_once(self) -> None:
        works = Works()
        pure = with_policy(works, Policy(pure=True))
        tasks = [("works", "x"), ("works", "y"), ("works", "x")]
        for _ in range(2):
            executions = await executed(pure, tasks=tasks)  # type: ignore
            assert [e.text for e in executions] == ["works: x", "works: y", "works: x"]
        assert works.calls == {"x": 1, "y": 1}

    async def test_a_failure_is_shared_and_not_kept(self) -> None:
        works = Works(OSError("a"))
        pure = with_policy(works, Policy(pure=True))
        errors: list[OSError] = []

        async def ask() -> None:
            try:
                await pure.execute(a_task("x"))
            except OSError as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            group.start_soon(ask)
        assert [error.args for error in errors] == [("a",), ("a",)]
        assert works.calls["x"] == 1
        assert (await one(pure)).text == "works: x"

    async def test_who_waits_takes_over_from_who_is_cancelled(self) -> None:
        begun, go_on = anyio.Event(), anyio.Event()
        calls = 0

        @executor(policy=Policy(pure=True))
        async def slow(prompt: str) -> str:
            nonlocal calls
            calls += 1
            begun.set()
            await go_on.wait()
            return f"{prompt} {calls}"

        results: list[object] = []

        async def follow() -> None:
            results.append(await slow.execute(a_task("x")))

        async with anyio.create_task_group() as followers:
            async with anyio.create_task_group() as leader:
                leader.start_soon(slow.execute, a_task("x"))
                await begun.wait()
                followers.start_soon(follow)
                followers.start_soon(follow)
                await anyio.wait_all_tasks_blocked()
                leader.cancel_scope.cancel()
            go_on.set()
        assert results == ["x 2", "x 2"]

    @pytest.mark.parametrize("nested", [False, True])
    async def test_who_waits_takes_over_from_who_reached_a_limit(self, nested: bool) -> None:
        result = await Sprint(ScriptedEngine(Scripted([answer("1")]))).solve("What?")
        reached = LimitReached("over", limit="deadline", result=result)
        begun, go_on = anyio.Event(), anyio.Event()
        calls = 0

        @executor(policy=Policy(pure=True))
        async def slow(prompt: str) -> str:
            nonlocal calls
            calls += 1
            if calls == 1:
                begun.set()
                await go_on.wait()
                raise reached if nested else BudgetExhausted("tokens")
            return "mine"

        outcomes: list[object] = []

        async def ask() -> None:
            try:
                outcomes.append(await slow.execute(a_task("x")))
            except (BudgetExhausted, LimitReached) as error:
                outcomes.append(type(error))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await begun.wait()
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            go_on.set()
        assert outcomes == [LimitReached if nested else BudgetExhausted, "mine"]

    async def test_ids_are_one_run_s_and_are_not_kept(self) -> None:
        shared = with_policy(ModelExecutor("thinks"), Policy(pure=True))
        first, second = await executed(shared, tasks=[("thinks", "x")] * 2)
        assert first.text == second.text == "did 1.1\n"
        assert first.ids is not None
        assert second.ids is None
        assert second.usage.completion_tokens == 0

    async def test_what_is_no_text_is_not_kept(self) -> None:
        @executor(policy=Policy(pure=True))
        async def number(prompt: str) -> str:
            return 7  # type: ignore

        for _ in range(2):
            assert "returned int, not text" in ((await one(number)).error or "")

    async def test_the_oldest_make_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(policy, "CACHED_CHARACTERS", 2 * len("awork: a") + 2)
        works = Works(name="work")
        pure = with_policy(works, Policy(pure=True))
        for prompt in "abacab":
            await pure.execute(a_task(prompt))
        assert works.calls == {"a": 1, "b": 2, "c": 1}


PROMPTS = st.sampled_from("ab")
CALLS = st.lists(
    st.tuples(PROMPTS, st.integers(0, 3), st.integers(0, 3), st.integers(0, 9)), max_size=8
)


async def steps(count: int) -> None:
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


@settings(max_examples=200, deadline=None)
@given(CALLS, st.lists(st.booleans(), min_size=16, max_size=16))
def test_of_equal_prompts_one_is_worked_on_whoever_comes_leaves_or_fails(
    calls: list[tuple[str, int, int, int]], fails: list[bool]
) -> None:
    """Calls come after some steps, take some, and are cancelled after some (never, from 6 on)."""
    running: Counter[str] = Counter()
    outcomes: list[tuple[str, bool, object]] = []

    async def run(prompt: str, comes: int, left_after: int, made: Executor) -> None:
        await steps(comes)
        outcome: object = None
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                if left_after < 6:
                    group.start_soon(leave, left_after, scope)
                try:
                    outcome = await made.execute(a_task(prompt))
                except OSError as error:
                    outcome = error
                group.cancel_scope.cancel()
        outcomes.append((prompt, left_after < 6, outcome))

    async def leave(after: int, scope: anyio.CancelScope) -> None:
        await steps(after)
        scope.cancel()

    async def main() -> None:
        takes = iter([call[2] for call in calls] * 2)
        failing = iter(fails)

        @executor(policy=Policy(pure=True))
        async def work(prompt: str) -> str:
            assert not running[prompt]
            running[prompt] += 1
            try:
                await steps(next(takes))
                if next(failing):
                    raise OSError(prompt)
            finally:
                running[prompt] -= 1
            return f"made of {prompt}"

        async with anyio.create_task_group() as group:
            for prompt, comes, _, left_after in calls:
                group.start_soon(run, prompt, comes, left_after, work)

    anyio.run(main)
    assert len(outcomes) == len(calls)
    for prompt, leaves, outcome in outcomes:
        if isinstance(outcome, OSError):
            assert outcome.args == (prompt,)
        else:
            assert outcome == f"made of {prompt}" or (outcome is None and leaves)
