"""Pure executors: results are cached, and equal prompts share one execution."""

from __future__ import annotations

from collections import Counter

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprint_agent import (
    Executor,
    LimitReached,
    Policy,
    Sprint,
    executor,
    with_policy,
)
from sprint_agent.errors import BudgetExhausted
from sprint_agent.executors import ModelExecutor, policy
from sprint_agent.testing import ScriptedEngine
from tests.script import Scripted, a_task, answer, executed
from tests.unit.executors.works import Works, one

pytestmark = pytest.mark.anyio


async def test_equal_prompts_are_executed_once() -> None:
    works = Works()
    pure = with_policy(works, Policy(pure=True))
    tasks = [("works", "x"), ("works", "y"), ("works", "x")]
    for _ in range(2):
        executions = await executed(pure, tasks=tasks)
        assert [e.text for e in executions] == ["works: x", "works: y", "works: x"]
    assert works.calls == {"x": 1, "y": 1}


async def test_a_failure_is_shared_and_not_cached() -> None:
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


async def test_a_waiting_task_takes_over_if_the_first_is_cancelled() -> None:
    begun, proceed = anyio.Event(), anyio.Event()
    calls = 0

    @executor(policy=Policy(pure=True))
    async def slow(prompt: str) -> str:
        nonlocal calls
        calls += 1
        begun.set()
        await proceed.wait()
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
        proceed.set()
    assert results == ["x 2", "x 2"]


@pytest.mark.parametrize("nested", [False, True])
async def test_a_waiting_task_takes_over_if_the_first_reached_a_limit(nested: bool) -> None:
    result = await Sprint(ScriptedEngine(Scripted([answer("1")]))).solve("What?")
    reached = LimitReached("over", limit="deadline", result=result)
    begun, proceed = anyio.Event(), anyio.Event()
    calls = 0

    @executor(policy=Policy(pure=True))
    async def slow(prompt: str) -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            begun.set()
            await proceed.wait()
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
        proceed.set()
    assert outcomes == [LimitReached if nested else BudgetExhausted, "mine"]


async def test_ids_belong_to_one_run_and_are_not_cached() -> None:
    shared = with_policy(ModelExecutor("thinks"), Policy(pure=True))
    first, second = await executed(shared, tasks=[("thinks", "x")] * 2)
    assert first.text == second.text == "did 1.1\n"
    assert first.ids is not None
    assert second.ids is None
    assert second.usage.completion_tokens == 0


async def test_what_is_neither_text_nor_json_is_not_cached() -> None:
    @executor(policy=Policy(pure=True))
    async def thing(prompt: str) -> object:
        return object()

    for _ in range(2):
        assert "returned object, which cannot be written" in ((await one(thing)).error or "")


async def test_the_least_recently_used_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_equal_prompts_are_executed_one_at_a_time_however_tasks_arrive_leave_or_fail(
    calls: list[tuple[str, int, int, int]], fails: list[bool]
) -> None:
    """Calls arrive after some steps, take some, and are cancelled after some (from 6 on: never)."""
    running: Counter[str] = Counter()
    outarrives: list[tuple[str, bool, object]] = []

    async def run(prompt: str, arrives: int, left_after: int, made: Executor) -> None:
        await steps(arrives)
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
        outarrives.append((prompt, left_after < 6, outcome))

    async def leave(after: int, scope: anyio.CancelScope) -> None:
        await steps(after)
        scope.cancel()

    async def main() -> None:
        takes = iter([call[2] for call in calls] * 2)
        failures = iter(fails)

        @executor(policy=Policy(pure=True))
        async def work(prompt: str) -> str:
            assert not running[prompt]
            running[prompt] += 1
            try:
                await steps(next(takes))
                if next(failures):
                    raise OSError(prompt)
            finally:
                running[prompt] -= 1
            return f"made of {prompt}"

        async with anyio.create_task_group() as group:
            for prompt, arrives, _, left_after in calls:
                group.start_soon(run, prompt, arrives, left_after, work)

    anyio.run(main)
    assert len(outarrives) == len(calls)
    for prompt, leaves, outcome in outarrives:
        if isinstance(outcome, OSError):
            assert outcome.args == (prompt,)
        else:
            assert outcome == f"made of {prompt}" or (outcome is None and leaves)
