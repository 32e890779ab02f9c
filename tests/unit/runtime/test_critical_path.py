"""The clocks of the critical path."""

from __future__ import annotations

import anyio
import pytest

from sprint_agent.runtime.critical_path import ExecutionClock, RunClock
from sprint_agent.runtime.slots import Slot, SlotPool

pytestmark = pytest.mark.anyio


async def test_an_execution_starts_when_the_place_that_it_waited_for_came_free() -> None:
    run = RunClock()
    root = SlotPool(1)
    around = Slot(root, (1, 9), ExecutionClock(run, 0, lambda: 4))
    inner = SlotPool(None, around)
    nested = RunClock(around.clock.now)
    found: list[tuple[int, int]] = []
    go_on = anyio.Event()

    async def work(pool: SlotPool, number: int, prompt_tokens: int, spends: int) -> None:
        clock = ExecutionClock(run if pool is root else nested, prompt_tokens, lambda: spends)
        async with pool.take(1, number, clock):
            found.append((clock.slot_free_at, clock.start))
            await go_on.wait()

    async with anyio.create_task_group() as group:
        for arguments in [(root, 1, 5, 10), (inner, 1, 2, 3), (inner, 2, 30, 7), (root, 10, 6, 1)]:
            group.start_soon(work, *arguments)
            await anyio.wait_all_tasks_blocked()
        go_on.set()
    # The inner run begins at 4: its first waits for 5 + 10, its second is asked for later than that.
    assert found == [(0, 5), (11, 15), (14, 34), (41, 41)]
    nested.advance(50)
    async with inner.take(2, 1, clock := ExecutionClock(nested, 6, lambda: 0)):
        assert (clock.slot_free_at, clock.start) == (0, 60)
