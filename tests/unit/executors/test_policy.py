"""Policies around an executor: timeout, retries, fallback and concurrency."""

from __future__ import annotations

import asyncio
import logging

import anyio
import anyio.lowlevel
import pytest

from sprint_agent import (
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
from tests.unit.executors.works import Works, one

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "FIRST_PAUSE", 0.0)


@pytest.mark.parametrize(
    "bound", [{"timeout": 0}, {"timeout": -1}, {"concurrency": 0}, {"retries": -1}]
)
def test_a_bound_must_be_positive(bound: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(bound))):
        Policy(**bound)  # type: ignore[arg-type]


def test_an_executor_keeps_its_name_description_and_schema() -> None:
    @executor(policy=Policy(retries=1))
    async def total(numbers: list[int]) -> str:
        """Adds."""
        return str(sum(numbers))

    assert (total.name, total.description) == ("total", "Adds.")
    assert total.schema == {"items": {"type": "integer"}, "type": "array"}


class TestTimeout:
    async def test_an_execution_that_takes_too_long_fails_alone(self) -> None:
        @executor(policy=Policy(timeout=0.05))
        async def hangs(prompt: str) -> str:
            await anyio.sleep_forever()
            return prompt

        first, second = await executed(hangs, tasks=[("hangs", "x"), (None, "y")])
        assert first.error == "TimeoutError: hangs took longer than 0.05 s"
        assert second.status == "done"

    async def test_it_counts_from_the_start_of_the_attempt(self) -> None:
        works = Works()
        bounded = with_policy(works, Policy(timeout=0.5, concurrency=1))
        async with anyio.create_task_group() as group, bounded._state().slots:  # type: ignore
            group.start_soon(bounded.execute, a_task("x"))
            await anyio.sleep(0.6)
            assert not works.calls
        assert works.calls["x"] == 1

    async def test_the_task_sees_it_as_the_remaining_time(self) -> None:
        @executor(policy=Policy(timeout=30))
        async def asks(task: Task) -> str:
            left = task.remaining().seconds
            assert left is not None
            return str(left <= 30)

        assert (await one(asks)).text == "True"

    async def test_the_executors_own_timeout_error_is_kept(self) -> None:
        works = Works(TimeoutError("mine"))
        assert (await one(with_policy(works, Policy(timeout=60)))).error == "TimeoutError: mine"


class TestRetries:
    async def test_an_attempt_that_fails_is_repeated(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        works = Works(OSError("a"), OSError("b"))
        assert (await one(with_policy(works, Policy(retries=2)))).text == "works: x"
        assert works.calls["x"] == 3
        assert "works failed at attempt 2: OSError('b')" in caplog.text

    async def test_the_last_error_is_reported(self) -> None:
        works = Works(OSError("a"), OSError("b"), OSError("c"))
        execution = await one(with_policy(works, Policy(retries=1)))
        assert execution.error == "OSError: b"
        assert works.calls["x"] == 2

    async def test_a_prompt_error_is_not_retried(self) -> None:
        works, other = Works(PromptError("no")), Works(name="other")
        execution = await one(with_policy(works, Policy(retries=3, fallback=other)))
        assert execution.error == "PromptError: no"
        assert works.calls["x"] == 1
        assert not other.calls

    @pytest.mark.parametrize(("limit", "tries"), [("tokens", 1), ("cost", 1), ("deadline", 2)])
    async def test_a_nested_run_is_retried_if_it_was_slow_but_not_if_its_budget_is_used_up(
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

    async def test_a_budget_that_is_used_up_is_not_retried(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        agent = Sprint(
            ScriptedEngine(Scripted([plan("model: x", "model: y")])),
            executors=[
                with_policy(ModelExecutor(), Policy(retries=5, pure=True, fallback=Works()))
            ],
            limits=Limits(tokens=len(plan("model: x", "model: y")) + 3),
            dispatch="stage",
        )
        result = await agent.solve("What?")
        assert result.limit == "tokens"
        errors = [e.error for e in result.stages[0].executions]
        assert errors == [str(BudgetExhausted("tokens"))] * 2
        assert not caplog.records


class TestFallback:
    async def test_it_takes_over_after_the_last_attempt(self) -> None:
        works, other = Works(OSError("a"), OSError("b")), Works(name="other")
        execution = await one(with_policy(works, Policy(retries=1, fallback=other)))
        assert (execution.executor, execution.text) == ("works", "other: x")

    async def test_its_error_is_reported(self) -> None:
        works, other = Works(OSError("a")), Works(OSError("b"), name="other")
        assert (await one(with_policy(works, Policy(fallback=other)))).error == "OSError: b"

    async def test_the_model_may_be_the_fallback(self) -> None:
        works = with_policy(Works(OSError("a")), Policy(fallback=ModelExecutor()))
        execution = await one(works)
        assert execution.text == "did 1.1\n"
        assert execution.usage.completion_tokens > 0

    async def test_its_result_is_not_cached(self) -> None:
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

    async def test_a_slot_is_free_again_after_an_error_or_a_cancellation(self) -> None:
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
