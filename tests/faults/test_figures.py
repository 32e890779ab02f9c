"""Complete runs on a server with faults, and the bounds that they must keep.

If a bound is a time, the best of three tries must keep it: other work may disturb one try.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from sprint_agent import EngineUnavailable, Limits, Result, Sprint, Task, Trace, events, executor
from sprint_agent.engine import Request
from sprint_agent.engines.sglang.engine import SGLangEngine
from sprint_agent.testing import (
    CharTokenizer,
    FaultServer,
    Reply,
    Reset,
    ScriptedEngine,
    Slow,
    Status,
)
from tests.script import Continuing, Scripted, answer, execution_of, plan

pytestmark = pytest.mark.anyio

TURNS = [plan("a", "b", "c"), answer("42")]


def continuing() -> Callable[[str], Reply | str]:
    return Continuing(TURNS)


def engine_of(server: FaultServer) -> SGLangEngine:
    return SGLangEngine(server.url, tokenizer=CharTokenizer())


async def best_of_three(measure: Callable[[], Awaitable[float]], bound: float) -> None:
    measured: list[float] = []
    for _ in range(3):
        measured.append(await measure())
        if measured[-1] <= bound:
            return
    raise AssertionError(f"{measured} are all above {bound}")


class TestRetries:
    @pytest.mark.parametrize("fault", [Status(503), Status(500), Reset()])
    async def test_a_call_is_sent_three_times_at_most(self, fault: Any) -> None:
        async with FaultServer(continuing()) as server:
            server.fail(*[fault] * 9)
            with pytest.raises(EngineUnavailable):
                await Sprint(engine_of(server)).solve("What?")
            assert len(server.requests) == 3

    async def test_retry_after_is_respected(self) -> None:
        async with FaultServer(continuing()) as server:
            server.fail(Status(429, retry_after=0.4))
            result = await Sprint(engine_of(server)).solve("What?")
            assert result.answer == "42"
            assert server.requests[1].at - server.requests[0].at >= 0.4

    async def test_a_retry_after_that_is_too_long_fails_at_once(self) -> None:
        async with FaultServer(continuing()) as server:
            server.fail(Status(429, retry_after=61))
            with pytest.raises(EngineUnavailable, match="busy"):
                await Sprint(engine_of(server)).solve("What?")
            assert len(server.requests) == 1
            server.fail(Status(429, retry_after=5))
            with pytest.raises(EngineUnavailable, match="busy"):
                await Sprint(engine_of(server), limits=Limits(deadline=2)).solve("What?")
            assert len(server.requests) == 2

    @pytest.mark.parametrize("after", range(0, 60, 4))
    async def test_no_character_is_repeated_after_a_reset(self, after: int) -> None:
        async with FaultServer(continuing()) as server:
            server.fail(Reset(after=after))
            result = await Sprint(engine_of(server)).solve("What?")
        assert result.answer == "42"
        assert result.text.count("<Plan_1>") == result.text.count("</Plan_1>") == 1
        for number in (1, 2, 3):
            assert result.text.count(f"<prompt_1.{number}>") == 1
            assert result.text.count(f"did 1.{number}\n") == 1


class TestLimits:
    async def test_64_runs_keep_their_deadline(self) -> None:
        """Each run ends at most 100 ms after its deadline."""

        @executor
        async def forever(prompt: str) -> str:
            await anyio.sleep_forever()
            return ""

        async def overshoot() -> float:
            late: list[float] = []

            async def one() -> None:
                turns: list[str | Reply] = [plan(*["forever: x"] * 4)]
                engine = ScriptedEngine(Scripted(turns), chunk=1000)
                agent = Sprint(engine, executors=[forever], limits=Limits(deadline=0.3))
                began = time.monotonic()
                result = await agent.solve("What?")
                late.append(time.monotonic() - began - 0.3)
                assert result.limit == "deadline"
                assert len(result.stages[0].executions) == 4

            async with anyio.create_task_group() as group:
                for _ in range(64):
                    group.start_soon(one)
            return max(late)

        await best_of_three(overshoot, 0.1)

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["sglang", "chat", "completions"])
    async def test_64_runs_with_real_streams_keep_their_deadline(self, kind: str) -> None:
        """256 streams end at the same moment. The server runs in the same thread as the runs.

        The 99th percentile is 100 ms at most, or half of the time that it took to open the streams: on a
        machine with other work, both take longer.
        """
        pytest.importorskip("openai")
        from tests.faults.servers import engine_of as engine_of_kind

        def script(prompt: str) -> Reply | str:
            if execution_of(prompt) is None and "Your task:" not in prompt:
                return plan("a", "b", "c", "d")
            return Reply("word " * 20, hang=True)

        async def overshoot() -> float:
            late: list[float] = []

            async def one(agent: Sprint) -> None:
                began = time.monotonic()
                result = await agent.solve("What?")
                late.append(time.monotonic() - began - deadline)
                assert result.limit == "deadline"

            deadline = 15.0
            async with FaultServer(script, chunk=1000) as server:
                limits = Limits(deadline=deadline)
                async with Sprint(engine_of_kind(server, kind), limits=limits) as agent:
                    async with anyio.create_task_group() as group:
                        began = time.monotonic()
                        for _ in range(64):
                            group.start_soon(one, agent)
                        await server.until(lambda: server.in_flight == 256)
                        opening = time.monotonic() - began
                    await server.until(lambda: server.in_flight == 0)
                    assert len(server.disconnects) == 256
                    if kind == "sglang":
                        await server.until(lambda: len(server.aborts) == 256)
            return sorted(late)[int(0.99 * len(late))] / max(0.1, opening / 2)

        await best_of_three(overshoot, 1.0)

    async def test_on_a_slow_server_a_deadline_returns_what_was_finished(self) -> None:
        async with FaultServer(continuing()) as server:
            # The plan arrives at once. Each execution takes longer than the deadline.
            server.fail(Slow(0.0), Slow(5.0), Slow(5.0), Slow(5.0))
            result = await Sprint(engine_of(server), limits=Limits(deadline=1.0)).solve("What?")
            assert result.limit == "deadline"
            assert [e.status for e in result.stages[0].executions] == ["stopped"] * 3
            await server.until(lambda: server.in_flight == 0)


class TestRestart:
    async def test_a_run_resumes_after_the_server_has_restarted(self, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        worked: list[int] = []

        @executor
        async def tool(task: Task) -> str:
            worked.append(task.number)
            return f"found {task.number}"

        turns = [plan("tool: a", "tool: b", "c"), answer("42")]
        async with FaultServer(Continuing(turns)) as server:
            agent = Sprint(engine_of(server), executors=[tool])

            async def until_the_server_crashes() -> None:
                async with agent.stream("What?", trace=path) as run:
                    async for event in run:
                        if isinstance(event, events.ExecutionEnded):
                            await server.crash()

            with pytest.raises(EngineUnavailable):
                await until_the_server_crashes()
            before = list(worked)
            ended = [e for e in Trace.read(path).events if isinstance(e, events.ExecutionEnded)]
            assert ended
            await server.restart()
            async with Sprint(engine_of(server), executors=[tool]).stream_resume(path) as run:
                result: Result = await run.result()
        assert result.answer == "42"
        kept = {e.execution.number for e in ended if e.execution.status == "done"}
        assert not kept & set(worked[len(before) :])


@pytest.mark.slow
class TestEndurance:
    async def test_after_10_000_cancelled_calls_the_connections_work(self) -> None:
        """10 of 10 further calls are answered within 250 ms."""
        answers = continuing()
        async with FaultServer(answers) as server, engine_of(server) as engine:
            prompt = tuple(CharTokenizer().encode("<Question>\nWhat?\n</Question>\n<think>\n"))

            async def cancelled(steps: int) -> None:
                with anyio.CancelScope() as scope:
                    async with engine.generate(Request(prompt)) as stream:
                        async for _ in stream:
                            steps -= 1
                            if steps < 0:
                                scope.cancel()

            for batch in range(200):
                async with anyio.create_task_group() as group:
                    for number in range(50):
                        group.start_soon(cancelled, (batch + number) % 5)
            assert engine.in_flight == 0
            await server.until(lambda: server.in_flight == 0)

            async def slowest() -> float:
                times: list[float] = []
                for _ in range(10):
                    began = time.monotonic()
                    await cancelled(0)
                    times.append(time.monotonic() - began)
                return max(times)

            await best_of_three(slowest, 0.25)

    async def test_10_000_runs_leave_nothing(self) -> None:
        """Memory grows by at most 2 %, or 64 kB for counters and caches of the interpreter."""
        agent = Sprint(ScriptedEngine(continuing(), chunk=1000))
        engine = agent.engine
        assert isinstance(engine, ScriptedEngine)

        async def runs(count: int) -> None:
            for _ in range(count):
                assert (await agent.solve("What?")).answer == "42"
                engine.requests.clear()

        await runs(200)
        tasks = len(anyio.get_running_tasks())
        gc.collect()
        tracemalloc.start()
        try:
            await runs(300)
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            await runs(9_500)
            gc.collect()
            after = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert after <= max(1.02 * before, before + 65_536)
        assert len(anyio.get_running_tasks()) == tasks
