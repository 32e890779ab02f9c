"""Functions in worker threads: they run in parallel, and a cancelled one is abandoned."""

from __future__ import annotations

import threading
import time

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from sprint_agent import Limits, Sprint, executor
from sprint_agent.executors import threads
from sprint_agent.testing import ScriptedEngine
from tests.script import Scripted, a_task, executed, plan

pytestmark = pytest.mark.anyio


async def test_functions_that_are_not_async_run_in_parallel_threads() -> None:
    meeting = threading.Barrier(2, timeout=10)

    @executor
    def meet(prompt: str) -> str:
        meeting.wait()
        assert threading.current_thread() is not threading.main_thread()
        return prompt

    executions = await executed(meet, tasks=[("meet", "a"), ("meet", "b")])
    assert [e.text for e in executions] == ["a", "b"]


async def test_a_deadline_is_kept_although_a_thread_continues() -> None:
    proceed = threading.Event()

    @executor
    def slow(prompt: str) -> str:
        proceed.wait(60)
        return "late"

    engine = ScriptedEngine(Scripted([plan("slow: x")]))
    try:
        began = time.monotonic()
        agent = Sprint(engine, executors=[slow], limits=Limits(deadline=0.1))
        result = await agent.solve("What?")
        assert time.monotonic() - began < 10
    finally:
        proceed.set()
    assert result.limit == "deadline"
    assert [e.status for e in result.stages[0].executions] == ["stopped"]


async def test_a_thread_can_check_whether_it_was_abandoned() -> None:
    checked, ended = threading.Event(), threading.Event()

    @executor
    def polite(prompt: str) -> str:
        try:
            while True:
                checked.set()
                anyio.from_thread.check_cancelled()
                time.sleep(0.001)
        finally:
            ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(polite.execute, a_task("x"))
        await anyio.to_thread.run_sync(checked.wait, 10)
        group.cancel_scope.cancel()
    assert await anyio.to_thread.run_sync(ended.wait, 10)


async def test_abandoned_threads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "MAX_ABANDONED", 2)
    begun, proceed = threading.Semaphore(0), threading.Event()

    def hang() -> None:
        begun.release()
        proceed.wait(60)

    for _ in range(2):
        async with anyio.create_task_group() as group:
            group.start_soon(threads.in_thread, hang)
            await anyio.to_thread.run_sync(begun.acquire)
            group.cancel_scope.cancel()
    with pytest.raises(RuntimeError, match="2 threads still run for executions that have ended"):
        await threads.in_thread(hang)
    proceed.set()
    with anyio.fail_after(10):
        while threads._Call.abandoned_threads:  # noqa: ASYNC110
            await anyio.sleep(0.001)
    assert await threads.in_thread(lambda: "fine") == "fine"


async def test_calls_that_never_began_are_not_counted() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await threads.in_thread(lambda: None)
    assert threads._Call.abandoned_threads == 0


async def test_an_error_in_the_thread_is_raised_and_not_counted() -> None:
    def fails() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        await threads.in_thread(fails)
    assert threads._Call.abandoned_threads == 0
