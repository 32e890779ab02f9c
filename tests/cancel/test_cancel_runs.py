"""A run that is cancelled, at whatever step, leaves no task and no request behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from sprint_agent import Limits, Sprint, Task, executor, first_success
from sprint_agent.join import Join
from sprint_agent.testing import ScriptedEngine
from tests.script import Scripted, answer, plan

pytestmark = pytest.mark.anyio


@executor
async def patient(task: Task) -> str:
    """Waits, calls the model, and cleans up behind itself."""
    try:
        await anyio.lowlevel.checkpoint()
        return (await task.generate()).text
    finally:
        await anyio.lowlevel.cancel_shielded_checkpoint()


def new_engine() -> ScriptedEngine:
    turns = [plan("one", "patient: two", "three"), plan("four", stage=2), answer("3")]
    return ScriptedEngine(Scripted(list(turns)))


async def solve(engine: ScriptedEngine, join: Join, limits: Limits) -> None:
    await Sprint(engine, executors=[patient], join=join, limits=limits).solve("What?")


async def watch(engine: ScriptedEngine, join: Join, limits: Limits) -> None:
    agent = Sprint(engine, executors=[patient], join=join, limits=limits)
    async with agent, agent.run("What?") as run:
        async for _ in run:
            pass


async def cancelled_at(step: int, run: Callable[[], Awaitable[None]]) -> bool:
    """Cancels `run` after so many steps of the event loop; whether it was still under way."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                for _ in range(step):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()

            group.start_soon(cancel)
            await run()
            group.cancel_scope.cancel()
    return scope.cancelled_caught


@pytest.mark.parametrize("way", [solve, watch])
@pytest.mark.parametrize("limits", [Limits(), Limits(concurrency=1, deadline=60)])
@pytest.mark.parametrize("join", ["all", first_success(lambda e: e.number == 2)])
async def test_cancelling_at_every_step_leaves_nothing(
    way: Callable[[ScriptedEngine, Join, Limits], Awaitable[None]], limits: Limits, join: Join
) -> None:
    before = asyncio.all_tasks()
    steps = 0
    while True:
        engine = new_engine()
        under_way = await cancelled_at(steps, lambda engine=engine: way(engine, join, limits))
        assert engine.in_flight == 0, f"a request is left after a cancel at step {steps}"
        assert asyncio.all_tasks() == before, f"a task is left after a cancel at step {steps}"
        if not under_way:
            break
        steps += 1
    assert steps > 50
