"""BackgroundTask: a task that one task begins and another one may end."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator
from contextlib import aclosing
from contextvars import ContextVar

import anyio
import anyio.lowlevel
import pytest

from sprint_agent.background import BackgroundTask

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


class Work:
    """Runs until it is cancelled."""

    def __init__(self) -> None:
        self.began = anyio.Event()
        self.ended = anyio.Event()

    async def __call__(self) -> None:
        self.began.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.ended.set()


async def test_leaving_the_block_cancels_the_task_and_waits_for_it() -> None:
    work = Work()
    async with BackgroundTask(work):
        await work.began.wait()
        assert not work.ended.is_set()
    assert work.ended.is_set()


async def test_a_task_that_has_not_begun_is_cancelled_too() -> None:
    async with BackgroundTask(Work()):
        pass


async def test_work_that_ends_by_itself_is_waited_for() -> None:
    ended: list[bool] = []

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        ended.append(True)

    task = BackgroundTask(work)
    task.start()
    await task.wait()
    assert ended == [True]


async def test_what_the_work_raises_is_raised_by_stop() -> None:
    async def work() -> None:
        raise KeyError("x")

    task = BackgroundTask(work)
    task.start()
    with pytest.raises(KeyError):
        await task.wait()


async def test_a_waiting_task_that_is_cancelled_waits_on() -> None:
    release, ended = anyio.Event(), anyio.Event()

    async def work() -> None:
        with anyio.CancelScope(shield=True):
            await release.wait()
        ended.set()

    async def leave() -> None:
        async with BackgroundTask(work):
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(leave)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
        release.set()
    assert ended.is_set()


async def test_the_work_has_the_context_of_the_task_that_began_it() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="none")
    seen: list[str] = []

    async def work() -> None:
        seen.append(variable.get())

    variable.set("mine")
    task = BackgroundTask(work)
    task.start()
    await task.wait()
    assert seen == ["mine"]


async def numbers(work: Work) -> AsyncGenerator[int]:
    async with BackgroundTask(work):
        await work.began.wait()
        yield 1
        yield 2


async def test_a_generator_that_another_task_closes() -> None:
    work = Work()
    generator = numbers(work)
    assert await anext(generator) == 1

    async with anyio.create_task_group() as group:
        group.start_soon(generator.aclose)
    assert work.ended.is_set()


async def test_a_generator_that_is_closed_by_its_reader() -> None:
    work = Work()
    async with aclosing(numbers(work)) as generator:
        async for _ in generator:
            break
    assert work.ended.is_set()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_generator_that_is_dropped(anyio_backend: str) -> None:
    work = Work()
    async for _ in numbers(work):
        break
    gc.collect()
    with anyio.fail_after(5):
        await work.ended.wait()
