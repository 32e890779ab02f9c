"""What an executor does becomes an execution: done, failed or stopped."""

from __future__ import annotations

import asyncio
import logging
import traceback
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sprint_agent import (
    Execution,
    Limits,
    Policy,
    PromptError,
    Sprint,
    Task,
    Trace,
    executor,
    first_success,
)
from sprint_agent.testing import ScriptedEngine
from tests.script import Scripted, answer, executed, plan

pytestmark = pytest.mark.anyio


async def one(made: Any, prompt: str = "x") -> Execution:
    (execution,) = await executed(made, tasks=[(made.name, prompt)])
    return execution


class TestExceptions:
    async def test_the_traceback_is_kept_and_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        @executor
        async def broken(prompt: str) -> str:
            return {}["x"]

        with caplog.at_level(logging.WARNING):
            execution = await one(broken)
        assert execution.error == "KeyError: 'x'"
        assert isinstance(execution.exception, KeyError)
        shown = "".join(traceback.format_exception(execution.exception))
        assert 'return {}["x"]' in shown
        (record,) = caplog.records
        assert record.exc_info is not None
        assert 'return {}["x"]' in caplog.text
        assert (record.stage, record.number) == (1, 1)  # type: ignore[attr-defined]

    async def test_a_thread_that_raises(self) -> None:
        @executor
        def broken(prompt: str) -> str:
            raise RuntimeError("in a thread")

        execution = await one(broken)
        assert "in broken" in "".join(traceback.format_exception(execution.exception))

    async def test_a_prompt_that_is_wrong_is_no_warning(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        @executor
        async def picky(prompt: str) -> str:
            raise PromptError("write more")

        with caplog.at_level(logging.DEBUG):
            execution = await one(picky)
        assert isinstance(execution.exception, PromptError)
        assert [record.levelname for record in caplog.records] == ["DEBUG"]

    async def test_it_is_not_part_of_a_trace(self, tmp_path: Path) -> None:
        @executor
        async def broken(prompt: str) -> str:
            raise ValueError(prompt)

        trace = tmp_path / "run.jsonl"
        turns: list[Any] = [plan("broken: x"), answer("42")]
        agent = Sprint(ScriptedEngine(Scripted(turns)), executors=[broken])
        result = await agent.solve("What?", trace=trace)
        assert result.stages[0].executions[0].exception is not None
        assert "exception" not in trace.read_text()
        assert "exception" not in str(result.to_json())
        read = Trace.read(trace).result
        assert read is not None
        assert read.stages[0].executions[0].exception is None
        assert read == result

    async def test_one_that_is_done_has_none(self) -> None:
        @executor
        async def fine(prompt: str) -> str:
            return "fine"

        assert (await one(fine)).exception is None


async def cancel_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


class TestCancelsItself:
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_it_is_a_failed_execution(self) -> None:
        @executor
        async def odd(prompt: str) -> str:
            await cancel_itself()
            return "never"

        @executor
        async def fine(prompt: str) -> str:
            await anyio.sleep(0.01)
            return "fine"

        turns: list[Any] = [plan("odd: x", "fine: y"), answer("42")]
        agent = Sprint(ScriptedEngine(Scripted(turns)), executors=[odd, fine])
        result = await agent.solve("What?")
        assert result.answer == "42"
        assert [e.status for e in result.stages[0].executions] == ["failed", "done"]
        assert "was cancelled" in (result.stages[0].executions[0].error or "")

    async def test_however_often(self) -> None:
        @executor
        async def odd(prompt: str) -> str:
            for _ in range(3):
                try:
                    await cancel_itself()
                except asyncio.CancelledError:
                    continue
            await cancel_itself()
            return "never"

        assert (await one(odd)).status == "failed"

    async def test_in_a_group_or_under_a_timeout(self) -> None:
        @executor(policy=Policy(timeout=60))
        async def odd(prompt: str) -> str:
            async with anyio.create_task_group():
                await cancel_itself()
            return "never"

        assert (await one(odd)).status == "failed"

    async def test_then_a_deadline_still_ends_the_run(self) -> None:
        @executor
        async def odd(prompt: str) -> str:
            await cancel_itself()
            return "never"

        @executor
        async def forever(prompt: str) -> str:
            await anyio.sleep_forever()
            return "never"

        turns: list[Any] = [plan("odd: x", "forever: y"), answer("42")]
        agent = Sprint(ScriptedEngine(Scripted(turns)), executors=[odd, forever])
        with anyio.fail_after(30):
            result = await agent.solve("What?", limits=Limits(deadline=0.2))
        assert result.limit == "deadline"
        assert [e.status for e in result.stages[0].executions] == ["failed", "stopped"]

    async def test_a_caller_s_cancellation_still_ends_the_run(self) -> None:
        began = anyio.Event()

        @executor
        async def forever(prompt: str) -> str:
            began.set()
            await anyio.sleep_forever()
            return "never"

        turns: list[Any] = [plan("forever: x"), answer("42")]
        agent = Sprint(ScriptedEngine(Scripted(turns)), executors=[forever])
        task = asyncio.create_task(agent.solve("What?"))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class TestResults:
    async def test_a_policy_bounds_a_result(self) -> None:
        for bound, text in ((3, "xxx\n[49997 more left out]"), (60_000, "x" * 50_000)):

            @executor(policy=Policy(max_characters=bound))
            async def long(prompt: str) -> str:
                return "x" * 50_000

            assert (await one(long)).text == text

    async def test_the_default_bound(self) -> None:
        @executor
        async def long(prompt: str) -> list[str]:
            return ["x" * 32_000]

        text = (await one(long)).text
        assert text.endswith("\n[4 more left out]")
        assert len(text) < 32_100

    async def test_an_executor_may_have_a_bound(self) -> None:
        class Own:
            name, description, schema, max_characters = "own", "", None, 5

            async def execute(self, task: Task) -> str:
                return "123456789"

        assert (await one(Own())).text == "12345\n[4 more left out]"


class TestFirstSuccess:
    async def solve(self, check: Any) -> Any:
        @executor
        async def tool(prompt: str) -> str:
            return prompt

        turns: list[Any] = [plan("tool: wrong", "tool: right", "tool: wrong"), answer("42")]
        agent = Sprint(ScriptedEngine(Scripted(turns)), executors=[tool])
        return await agent.solve("What?", join=first_success(check))

    async def test_an_async_check_is_awaited(self) -> None:
        async def check(execution: Execution) -> str | None:
            await anyio.lowlevel.checkpoint()
            return "verified" if execution.text == "right" else None

        result = await self.solve(check)
        verdict = result.stages[0].verdict
        assert (verdict.accepted, verdict.remark) == (2, "verified")

    async def test_only_one_execution_is_accepted(self) -> None:
        async def check(_: Execution) -> bool:
            await anyio.sleep(0.01)
            return True

        assert (await self.solve(check)).stages[0].verdict.accepted in (1, 2, 3)

    async def test_an_async_check_that_accepts_none(self) -> None:
        async def check(_: Execution) -> bool:
            return False

        assert (await self.solve(check)).stages[0].verdict.accepted is None

    @pytest.mark.parametrize("decision", [1, [], {"ok": True}])
    async def test_what_is_no_decision_ends_the_run(self, decision: object) -> None:
        async def check(_: Execution) -> object:
            return decision

        for one in (check, lambda _: decision):
            with pytest.raises(TypeError, match="the check of first_success returned"):
                await self.solve(one)

    async def test_an_error_of_an_async_check_ends_the_run(self) -> None:
        async def check(_: Execution) -> bool:
            raise ValueError("a bug")

        with pytest.raises(ValueError, match="a bug"):
            await self.solve(check)
