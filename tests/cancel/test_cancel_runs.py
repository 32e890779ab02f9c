"""A run that is cancelled at any step leaves no task and no request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio.lowlevel
import pytest

from sprint_agent import Limits, Sprint, Task, executor, first_success
from sprint_agent.join import Join
from sprint_agent.testing import ScriptedEngine, cancel_everywhere
from tests.script import Scripted, answer, plan

pytestmark = pytest.mark.anyio


@executor
async def patient(task: Task) -> str:
    """Waits, calls the model, and cleans up."""
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
    async with agent, agent.stream("What?") as run:
        async for _ in run:
            pass


@pytest.mark.parametrize("way", [solve, watch])
@pytest.mark.parametrize("limits", [Limits(), Limits(concurrency=1, deadline=60)])
@pytest.mark.parametrize("join", ["all", first_success(lambda e: e.number == 2)])
async def test_cancelling_at_every_point_leaves_nothing(
    way: Callable[[ScriptedEngine, Join, Limits], Awaitable[None]], limits: Limits, join: Join
) -> None:
    engines: list[ScriptedEngine] = []

    async def run() -> None:
        engines.append(new_engine())
        await way(engines[-1], join, limits)

    report = await cancel_everywhere(run, leaked={"requests": lambda: engines[-1].in_flight})
    assert report.ok, str(report)
    assert report.points > 50
