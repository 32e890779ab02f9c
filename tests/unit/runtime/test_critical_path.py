"""The clocks of the critical path."""

from __future__ import annotations

import anyio
import pytest

from sprint_agent.runtime.critical_path import ExecutionClock, RunClock
from sprint_agent.runtime.slots import Slot, SlotPool

pytestmark = pytest.mark.anyio


class Execution:
    """An execution whose tokens a test counts up. Its run's stage began at 100."""

    def __init__(self, prompt_tokens: int = 7) -> None:
        self.run = RunClock(100)
        self.tokens = 0
        self.clock = ExecutionClock(self.run, prompt_tokens, lambda: self.tokens)


def test_a_run_advances_from_stage_to_stage() -> None:
    run = RunClock()
    assert run.stage_start == 0
    run.advance(30)
    run.advance(12)
    assert run.stage_start == 42
    assert RunClock(5).stage_start == 5


def test_before_it_begins_an_execution_is_at_the_beginning_of_its_stage() -> None:
    clock = Execution().clock
    assert (clock.start, clock.slot_free_at, clock.wait_tokens, clock.now) == (100, 0, 0, 100)


def test_an_execution_begins_at_the_end_of_its_prompt() -> None:
    clock = Execution().clock
    clock.begin([])
    assert (clock.start, clock.slot_free_at, clock.now) == (107, 0, 107)


@pytest.mark.parametrize(
    ("freed_at", "slot_free_at", "start"),
    [
        ([90], 0, 107),
        ([100], 0, 107),
        ([101], 1, 107),
        ([107], 7, 107),
        ([120], 20, 120),
        ([120, 115], 20, 120),
        ([115, 120], 20, 120),
    ],
)
def test_an_execution_that_waited_begins_when_the_last_slot_came_free(
    freed_at: list[int], slot_free_at: int, start: int
) -> None:
    clock = Execution().clock
    clock.begin(freed_at)
    assert (clock.slot_free_at, clock.start, clock.now) == (slot_free_at, start, start)


def test_it_begins_in_the_stage_that_its_run_has_reached_by_then() -> None:
    execution = Execution()
    execution.run.advance(50)
    execution.clock.begin([155])
    assert (execution.clock.slot_free_at, execution.clock.start) == (5, 157)


def test_an_execution_s_clock_advances_by_what_it_spends() -> None:
    execution = Execution()
    execution.clock.begin([])
    execution.tokens = 5
    assert execution.clock.now == 112
    assert execution.clock.start == 107


def test_waiting_for_a_slot_that_was_lent_advances_the_clock() -> None:
    execution = Execution()
    execution.clock.begin([])
    execution.tokens = 3
    execution.clock.resume([115, 112])
    assert (execution.clock.wait_tokens, execution.clock.now) == (5, 115)
    execution.tokens = 4
    assert execution.clock.now == 116
    execution.clock.resume([118])
    assert (execution.clock.wait_tokens, execution.clock.now) == (7, 118)


@pytest.mark.parametrize("freed_at", [[], [50], [110]])
def test_a_slot_that_came_free_before_costs_no_waiting(freed_at: list[int]) -> None:
    execution = Execution()
    execution.clock.begin([])
    execution.tokens = 3
    execution.clock.resume(freed_at)
    assert (execution.clock.wait_tokens, execution.clock.now) == (0, 110)


def test_without_a_wait_a_clock_at_0_stays_there() -> None:
    clock = ExecutionClock(RunClock(), 0, lambda: 0)
    clock.begin([])
    clock.resume([])
    assert (clock.slot_free_at, clock.wait_tokens, clock.now) == (0, 0, 0)


async def test_an_execution_starts_when_the_slot_that_it_waited_for_came_free() -> None:
    run = RunClock()
    root = SlotPool(1)
    around = Slot(root, (1, 9), ExecutionClock(run, 0, lambda: 4))
    inner = SlotPool(None, around)
    nested = RunClock(around.clock.now)
    seen: list[tuple[int, int]] = []
    go_on = anyio.Event()

    async def work(pool: SlotPool, number: int, prompt_tokens: int, spends: int) -> None:
        clock = ExecutionClock(run if pool is root else nested, prompt_tokens, lambda: spends)
        async with pool.take(1, number, clock):
            seen.append((clock.slot_free_at, clock.start))
            await go_on.wait()

    async with anyio.create_task_group() as group:
        for arguments in [(root, 1, 5, 10), (inner, 1, 2, 3), (inner, 2, 30, 7), (root, 10, 6, 1)]:
            group.start_soon(work, *arguments)
            await anyio.wait_all_tasks_blocked()
        go_on.set()
    # The nested run begins at 4. Its first execution waits for 5 + 10. The prompt of its second one ends
    # after that.
    assert seen == [(0, 5), (11, 15), (14, 34), (41, 41)]
    nested.advance(50)
    async with inner.take(2, 1, clock := ExecutionClock(nested, 6, lambda: 0)):
        assert (clock.slot_free_at, clock.start) == (0, 60)
