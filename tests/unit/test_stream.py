"""`Sprint.stream` inside an async generator, as a web service has it: its reader may go at any time."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
import pytest

from sprint_agent import Event, Limits, RunStarted, Sprint
from sprint_agent.testing import Reply, ScriptedEngine
from tests.script import Scripted, plan

pytestmark = pytest.mark.anyio


def hanging() -> ScriptedEngine:
    """Returns an engine whose executions never end."""
    hangs = Reply("on", hang=True)
    return ScriptedEngine(Scripted([plan("a", "b")], {(1, 1): hangs, (1, 2): hangs}))


async def told(agent: Sprint, question: str = "What?") -> AsyncGenerator[Event]:
    async with agent.stream(question) as run:
        async for event in run:
            yield event


async def until(engine: ScriptedEngine, in_flight: int) -> None:
    with anyio.fail_after(5):
        while engine.in_flight != in_flight:  # noqa: ASYNC110
            await anyio.sleep(0.001)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_reader_that_breaks_closes_the_run(anyio_backend: str) -> None:
    engine = hanging()
    async with aclosing(told(Sprint(engine))) as generator:
        async for _ in generator:
            if engine.in_flight == 2:
                break
    assert engine.in_flight == 0


async def test_a_generator_that_is_dropped_ends_its_run_and_harms_nobody() -> None:
    engine = hanging()
    agent = Sprint(engine)
    async for _ in told(agent):
        if engine.in_flight == 2:
            break
    gc.collect()
    await until(engine, 0)
    # The task that read is not cancelled later: it can await on, open scopes, and leave them.
    with anyio.move_on_after(10) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0.01)
    assert not scope.cancelled_caught


async def test_a_generator_that_one_task_reads_and_another_one_closes() -> None:
    engine = hanging()
    generator = told(Sprint(engine))

    async def read() -> None:
        async for _ in generator:
            if engine.in_flight == 2:
                return

    async with anyio.create_task_group() as group:
        group.start_soon(read)
    async with anyio.create_task_group() as group:
        group.start_soon(generator.aclose)
    assert engine.in_flight == 0


async def test_a_reader_that_is_cancelled_waits_until_its_run_has_ended() -> None:
    engine = hanging()

    async def read() -> None:
        async for _ in told(Sprint(engine)):
            pass

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await until(engine, 2)
        group.cancel_scope.cancel()
    gc.collect()
    await until(engine, 0)


async def test_an_agent_that_another_task_still_uses_stays_open() -> None:
    """The first user of an agent opens its engine, and the last one closes it, whichever that is."""
    engine = hanging()
    agent = Sprint(engine, limits=Limits(deadline=60))
    first, second = told(agent), told(agent, "And?")
    assert isinstance(await anext(first), RunStarted)
    assert isinstance(await anext(second), RunStarted)
    async with anyio.create_task_group() as group:
        group.start_soon(first.aclose)
    assert isinstance(await anext(second), object)
    async with anyio.create_task_group() as group:
        group.start_soon(second.aclose)
    assert repr(agent).startswith("<Sprint closed")


async def test_an_error_in_the_block_is_raised_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with Sprint(hanging()).stream("What?"):
            raise KeyError("mine")
