"""cancel_everywhere finds every suspension point of a coroutine, and what is left over."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time

import anyio
import anyio.lowlevel
import pytest

from sprint_agent.testing import CancelReport, Leak, cancel_everywhere

pytestmark = pytest.mark.anyio


async def step() -> None:
    await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("count", [0, 1, 5])
async def test_every_point_is_tried_once(count: int) -> None:
    ends: list[tuple[int, bool]] = []

    async def run() -> None:
        done = 0
        try:
            for _ in range(count):
                await step()
                done += 1
        except asyncio.CancelledError:
            ends.append((done, True))
            raise
        ends.append((done, False))

    report = await cancel_everywhere(run)
    assert report.ok, str(report)
    assert report.points == count
    assert ends == [*((done, True) for done in range(count)), (count, False)]


async def test_the_points_of_all_its_tasks_are_tried() -> None:
    """Each of two child tasks is cancelled at each of its steps."""
    found: set[tuple[str, int]] = set()

    async def child(name: str, steps: int) -> None:
        for done in range(steps):
            try:
                await step()
            except asyncio.CancelledError:
                found.add((name, done))
                raise

    async def parent() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child, "grandchild", 3)

    async def run() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child, "child", 6)
            group.start_soon(parent)

    report = await cancel_everywhere(run)
    assert report.ok, str(report)
    names = [("child", done) for done in range(6)] + [("grandchild", done) for done in range(3)]
    assert found == set(names)
    # Nine points of the children, and one of each of the two groups that wait for them.
    assert report.points >= 9 + 2


async def test_a_leak_at_a_single_point_is_found() -> None:
    held = 0

    async def run() -> None:
        nonlocal held
        await step()
        held += 1
        await step()
        try:
            await step()
        finally:
            held -= 1

    def left() -> int:
        nonlocal held
        now, held = held, 0
        return now

    report = await cancel_everywhere(run, leaked={"slots": left})
    assert (report.points, report.leaks) == (3, (Leak(2, "slots: 1"),))
    assert not report.ok
    assert str(report) == "at point 2: slots: 1\n3 points, 1 leaks"


async def test_leak_checks_may_be_async() -> None:
    async def none() -> list[str]:
        await step()
        return []

    async def one() -> list[str]:
        await step()
        return ["r1"]

    report = await cancel_everywhere(step, leaked={"none": none, "requests": one})
    assert report.leaks == (Leak(1, "requests: ['r1']"), Leak(0, "requests: ['r1']"))


async def test_a_task_that_outlives_the_run_is_found_and_cancelled() -> None:
    tasks: list[asyncio.Task[None]] = []

    async def forever() -> None:
        await anyio.sleep_forever()

    async def run() -> None:
        await step()
        tasks.append(asyncio.get_running_loop().create_task(forever(), name="stray"))
        await step()

    report = await cancel_everywhere(run)
    what = "the task 'stray' is alive"
    assert report.leaks[0] == Leak(2, what)
    assert report.leaks[-1] == Leak(0, what)
    assert all(leak.what == what for leak in report.leaks)
    # The stray tasks are cancelled, so that they do not disturb what follows.
    await anyio.wait_all_tasks_blocked()
    assert all(task.cancelled() for task in tasks)


async def test_steps_of_a_stray_task_after_the_run_are_not_points() -> None:
    async def stray() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            for _ in range(10):
                await anyio.lowlevel.cancel_shielded_checkpoint()

    async def run() -> None:
        asyncio.get_running_loop().create_task(stray())
        await step()
        await step()

    async def settled() -> None:
        for _ in range(20):
            await step()

    report = await cancel_everywhere(run, leaked={"nothing": settled})
    # Two steps of the run, and the step at which the stray task waits.
    assert report.points == 3
    assert [leak.point for leak in report.leaks] == [1, 2, 3, 0]


async def test_a_swallowed_cancellation_is_found() -> None:
    async def run() -> None:
        await step()
        with contextlib.suppress(asyncio.CancelledError):
            await step()

    report = await cancel_everywhere(run)
    assert report.leaks == (Leak(2, "the cancellation was swallowed"),)


async def test_a_cancellation_by_the_run_itself_is_not_swallowed() -> None:
    async def run() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            await step()
            group.cancel_scope.cancel()
        with anyio.move_on_after(0):
            await anyio.sleep_forever()

    report = await cancel_everywhere(run)
    assert report.ok, str(report)


async def test_a_cancellation_that_becomes_an_error_is_found() -> None:
    async def run() -> None:
        try:
            await step()
        except asyncio.CancelledError as error:
            raise ValueError("no") from error

    report = await cancel_everywhere(run)
    assert report.leaks == (Leak(1, "raised ValueError: no"),)


async def test_shielded_cleanup_is_not_a_leak_and_is_timed() -> None:
    async def run() -> None:
        try:
            await step()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.02)

    report = await cancel_everywhere(run)
    assert report.ok, str(report)
    assert report.points == 2
    assert report.slowest >= 0.02


async def test_an_error_without_a_cancellation_is_raised() -> None:
    async def run() -> None:
        await step()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await cancel_everywhere(run)


async def test_it_gives_up_on_an_endless_run() -> None:
    async def run() -> None:
        while True:
            await step()

    report = await cancel_everywhere(run, max_points=20)
    assert (report.points, report.leaks, report.complete, report.ok) == (20, (), False, False)
    assert "incomplete: stopped after 20 points" in str(report)


async def test_tasks_of_others_are_ignored() -> None:
    """The steps and tasks of a server that runs at the same time are neither points nor leaks."""
    requested = anyio.Event()

    async def handler() -> None:
        await anyio.sleep_forever()

    async def server() -> None:
        while True:
            await requested.wait()
            group.start_soon(handler)
            await anyio.sleep(0.001)

    async def run() -> None:
        requested.set()
        await step()

    async with anyio.create_task_group() as group:
        group.start_soon(server)
        report = await cancel_everywhere(run)
        assert report.ok, str(report)
        assert report.points == 1
        group.cancel_scope.cancel()


async def test_the_task_factory_is_restored() -> None:
    loop = asyncio.get_running_loop()
    made: list[str] = []

    def factory(loop, coroutine, **options):  # type: ignore[no-untyped-def]
        made.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def run() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(step)

    before = loop.get_task_factory()
    loop.set_task_factory(factory)
    try:
        report = await cancel_everywhere(run)
        assert loop.get_task_factory() is factory
    finally:
        loop.set_task_factory(before)
    assert report.ok
    assert len(made) > 1


@pytest.mark.filterwarnings("error")
async def test_a_task_that_never_began_is_not_a_leak() -> None:
    async def run() -> None:
        task = asyncio.get_running_loop().create_task(step())
        task.cancel()
        await asyncio.wait([task])

    report = await cancel_everywhere(run)
    assert report.ok, str(report)
    gc.collect()


async def test_values_and_results_pass_through() -> None:
    async def doubled(number: int) -> int:
        await step()
        return number * 2

    async def run() -> None:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[str] = loop.create_future()
        loop.call_soon(lambda: waiting.done() or waiting.set_result("given"))
        got.append(await waiting)
        got.append(await loop.create_task(doubled(4)))

    got: list[object] = []
    report = await cancel_everywhere(run)
    assert report.ok, str(report)
    assert got[-2:] == ["given", 8]


async def test_it_is_quick_to_cancel() -> None:
    async def run() -> None:
        await anyio.sleep(30)

    start = time.monotonic()
    with anyio.move_on_after(5):
        report = await cancel_everywhere(run, max_points=1)
    assert time.monotonic() - start < 5
    assert report.slowest < 1


def test_a_report_is_a_value() -> None:
    assert CancelReport(3, (), 0.0).ok
    assert not CancelReport(3, (Leak(1, "a"),), 0.0).ok
