"""What an executor raises or leaves running affects its own execution only."""

from __future__ import annotations

import asyncio
import threading

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

from sprint_agent import (
    ExecutorError,
    Limits,
    QuestionError,
    Sampling,
    Sprint,
    Task,
    executor,
    first_success,
)
from sprint_agent.result import Verdict
from sprint_agent.testing import Reply, ScriptedEngine
from tests.script import Scripted, answer, executed, plan

pytestmark = pytest.mark.anyio
BACKENDS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
HALF = "caf\ud83d"
"""A text that ends in an unpaired surrogate, as from an emoji that was cut in two."""


@executor
async def succeeds(prompt: str) -> str:
    return "fine"


class Panic(BaseException):
    """Raised by libraries written in Rust when they fail unexpectedly."""


@BACKENDS
async def test_a_base_exception_fails_only_its_execution() -> None:
    @executor
    async def panics(prompt: str) -> str:
        raise Panic("at row 7")

    broken, fine = await executed(panics, succeeds, tasks=[("panics", "a"), ("succeeds", "b")])
    assert (broken.status, broken.error) == ("failed", "Panic: at row 7")
    assert (fine.status, fine.text) == ("done", "fine")


async def test_awaiting_a_cancelled_future_fails_only_the_execution() -> None:
    shared: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    shared.cancel()

    @executor
    async def waits(prompt: str) -> str:
        return await shared

    broken, fine = await executed(waits, succeeds, tasks=[("waits", "a"), ("succeeds", "b")])
    assert (broken.status, broken.error) == ("failed", "what it waited for was cancelled")
    assert (fine.status, fine.text) == ("done", "fine")


@pytest.mark.parametrize("every_task", [True, False])
async def test_the_cancellation_of_an_executors_task(every_task: bool) -> None:
    """asyncio cancels every task when a program ends, also those of executors.

    If only the executor's task is cancelled, its execution fails and the run continues.
    """
    began = asyncio.Event()
    theirs: list[asyncio.Task[object]] = []

    @executor
    async def works(prompt: str) -> str:
        task = asyncio.current_task()
        assert task is not None
        theirs.append(task)
        began.set()
        await anyio.sleep_forever()
        raise AssertionError

    engine = ScriptedEngine(Scripted([plan("works: a"), answer("never")]))
    run = asyncio.create_task(Sprint(engine, executors=[works]).solve("What?"))
    await began.wait()
    theirs[0].cancel()
    if every_task:
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    else:
        (execution,) = (await run).stages[0].executions
        assert (execution.status, execution.error) == ("failed", "its task was cancelled")
    assert theirs[0].done()
    assert engine.in_flight == 0


@BACKENDS
async def test_an_error_during_cancellation_stays_inside_the_execution(anyio_backend: str) -> None:
    """On asyncio, the executor's task group raises the error alone, in place of the cancellation."""

    @executor
    async def untidy(prompt: str) -> str:
        async def fails_at_the_end() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("while it cleaned up")

        async with anyio.create_task_group() as group:
            group.start_soon(fails_at_the_end)
            await anyio.sleep_forever()
        raise AssertionError

    engine = ScriptedEngine(Scripted([plan("untidy: a", "succeeds: b"), answer("done")]))
    agent = Sprint(engine, executors=[untidy, succeeds], join=first_success(lambda _: True))
    result = await agent.solve("What?")
    assert result.answer == "done"
    stopped, _ = result.stages[0].executions
    assert stopped.status == "stopped"


class TestUnpairedSurrogates:
    async def test_in_a_result_or_an_error_they_are_replaced(self) -> None:
        @executor
        async def returns(prompt: str) -> str:
            return HALF

        @executor
        async def raises(prompt: str) -> str:
            raise OSError(HALF)

        first, second = await executed(returns, raises, tasks=[("returns", "a"), ("raises", "b")])
        assert (first.status, first.text) == ("done", "caf?")
        assert (second.status, second.error) == ("failed", "OSError: caf?")

    async def test_in_the_verdict_of_a_check_they_are_replaced(self) -> None:
        engine = ScriptedEngine(Scripted([plan("succeeds: a"), answer("done")]))
        agent = Sprint(engine, executors=[succeeds], join=first_success(lambda _: HALF))
        result = await agent.solve("What?")
        assert result.answer == "done"
        assert result.stages[0].verdict == Verdict(1, "caf?")

    async def test_in_a_question_they_are_refused(self) -> None:
        with pytest.raises(QuestionError, match=r"half of a character|unpaired surrogate"):
            await Sprint(ScriptedEngine(Scripted([answer("?")]))).solve(HALF)


async def test_an_abandoned_thread_cannot_use_its_task() -> None:
    began, go, asked = threading.Event(), threading.Event(), threading.Event()
    raised: list[Exception] = []

    @executor
    def late(task: Task) -> str:
        began.set()
        go.wait(60)
        try:
            anyio.from_thread.run(task.generate)
        except Exception as error:
            raised.append(error)
        asked.set()
        return "late"

    @executor
    async def first(prompt: str) -> str:
        await anyio.to_thread.run_sync(began.wait)
        return "first"

    engine = ScriptedEngine(Scripted([plan("late: a", "first: b"), answer("done")]))
    agent = Sprint(engine, executors=[late, first], join=first_success(lambda _: True))
    assert (await agent.solve("What?")).answer == "done"
    calls = len(engine.requests)
    go.set()
    await anyio.to_thread.run_sync(asked.wait)
    assert len(engine.requests) == calls
    assert [type(error) for error in raised] == [ExecutorError]


async def test_calls_that_an_execution_leaves_running_are_cancelled_at_its_end() -> None:
    left: list[asyncio.Task[object]] = []

    @executor
    async def leaves(task: Task) -> str:
        left.append(asyncio.create_task(task.generate()))
        while not engine.in_flight:
            await anyio.lowlevel.checkpoint()
        return "left"

    turns: list[str | Reply] = [plan("leaves: a"), answer("done")]
    engine = ScriptedEngine(Scripted(turns, {(1, 1): Reply("on and on", hang=True)}))
    result = await Sprint(engine, executors=[leaves], limits=Limits(deadline=60)).solve("What?")
    assert result.answer == "done"
    with pytest.raises(ExecutorError, match="has ended"):
        await left[0]
    assert engine.in_flight == 0


async def test_calls_of_one_execution_have_different_seeds() -> None:
    @executor
    async def samples(task: Task) -> str:
        return " ".join([(await task.generate()).text for _ in range(3)])

    engine = ScriptedEngine(Scripted([plan("samples: a"), answer("done")]))
    await Sprint(engine, executors=[samples], sampling=Sampling(seed=7)).solve("What?")
    assert len({request.sampling.seed for request in engine.requests}) == 5
