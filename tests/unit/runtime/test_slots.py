"""Slots are never overdrawn, are all given back, and go by the order of plans."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup
from hypothesis import given, settings
from hypothesis import strategies as st

from sprint_agent.runtime.slots import Slot, SlotPool
from tests.unit.runtime.clocks import no_time

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Node:
    """An execution: after some steps, nested runs side by side, each with its own slots."""

    steps: int
    runs: Sequence[tuple[int | None, Sequence[Node]]]


LEAVES = st.builds(Node, st.integers(0, 3), st.just(()))
NODES = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        Node,
        st.integers(0, 3),
        st.lists(st.tuples(st.none() | st.integers(1, 3), st.lists(inner, max_size=3)), max_size=3),
    ),
    max_leaves=16,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(NODES, min_size=1, max_size=5), st.integers(1, 3), st.none() | st.integers(0, 12))
def test_slots_are_never_overdrawn_and_nobody_waits_for_ever(
    nodes: list[Node], total_slots: int, cancel_after: int | None
) -> None:
    working: Counter[SlotPool] = Counter()
    bounds: dict[SlotPool, int | None] = {}
    room: dict[SlotPool, int] = {}

    async def execution(node: Node, number: int, around: tuple[SlotPool, ...]) -> None:
        async with around[-1].take(1, number, no_time()) as slot:
            for slots in around:
                working[slots] += 1
                assert working[slots] <= (bounds[slots] or total_slots)
            try:
                await steps(node.steps)
            finally:
                for slots in around:
                    working[slots] -= 1
            async with anyio.create_task_group() as group:
                for total, inner in node.runs:
                    group.start_soon(nested, slot, inner, total, around)
            assert slot.held or not node.runs

    async def nested(
        slot: Slot, inner: Sequence[Node], total: int | None, around: tuple[SlotPool, ...]
    ) -> None:
        await steps(len(inner))
        async with slot.lend():
            await run(inner, total, around, slot)

    async def run(
        inner: Sequence[Node],
        total: int | None,
        around: tuple[SlotPool, ...],
        within: Slot | None = None,
    ) -> None:
        slots = SlotPool(total, within)
        bounds[slots] = total
        room[slots] = min(total or total_slots, room[around[-1]] if around else total_slots)
        async with anyio.create_task_group() as group:
            for number, node in enumerate(inner, 1):
                group.start_soon(execution, node, number, (*around, slots))

    async def cancel(scope: anyio.CancelScope) -> None:
        await steps(cancel_after or 0)
        scope.cancel()

    async def main() -> None:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                if cancel_after is not None:
                    group.start_soon(cancel, group.cancel_scope)
                await run(nodes, total_slots, ())
                group.cancel_scope.cancel()
        # Every slot was freed: as many as there are can be taken at once.
        with anyio.fail_after(20):
            for slots, free in room.items():
                async with AsyncExitStack() as stack:
                    for number in range(free):
                        await stack.enter_async_context(slots.take(2, number, no_time()))

    anyio.run(main)


async def steps(count: int) -> None:
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


async def test_slots_go_by_the_order_of_plans_and_to_a_nested_run_before_later_executions() -> None:
    root = SlotPool(1)
    order: list[str] = []

    async def wait(slots: SlotPool, number: int, name: str) -> None:
        async with slots.take(1, number, no_time()):
            order.append(name)
            await anyio.wait_all_tasks_blocked()

    async with anyio.create_task_group() as group, root.take(1, 1, no_time()) as first:
        for number in (3, 2):
            group.start_soon(wait, root, number, str(number))
            await anyio.wait_all_tasks_blocked()
        async with first.lend(), anyio.create_task_group() as inside:
            await anyio.wait_all_tasks_blocked()
            assert (first.held, order) == (True, [])
            nested = SlotPool(None, first)
            for number in (2, 1):
                inside.start_soon(wait, nested, number, f"1.{number}")
        order.append("1")
    assert order == ["1.2", "1.1", "2", "1", "3"]


# --- one pool ------------------------------------------------------------------------------------


@asynccontextmanager
async def tasks() -> AsyncGenerator[TaskGroup]:
    """A task group that ends after a while, also if an execution waits for a slot in vain."""
    with anyio.fail_after(3):
        async with anyio.create_task_group() as group:
            yield group


class Reading:
    """A clock that reads `now`, and records what it is told."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.began: list[list[int]] = []
        self.resumed: list[list[int]] = []

    def begin(self, freed_at: Sequence[int]) -> None:
        self.began.append(list(freed_at))

    def resume(self, freed_at: Sequence[int]) -> None:
        self.resumed.append(list(freed_at))


class Holder:
    """An execution that takes a slot as a task of `group` and frees it when it is told to."""

    def __init__(
        self, group: TaskGroup, pool: SlotPool, number: int, now: int = 0, stage: int = 1
    ) -> None:
        self.clock = Reading(now)
        self.slot: Slot | None = None
        self.ended = False
        self._pool = pool
        self._at = (stage, number)
        self._leave = anyio.Event()
        self._scope = anyio.CancelScope()
        group.start_soon(self._hold)

    async def _hold(self) -> None:
        with self._scope:
            async with self._pool.take(*self._at, self.clock) as self.slot:
                await self._leave.wait()
        self.ended = True

    async def free(self) -> None:
        self._leave.set()
        await anyio.wait_all_tasks_blocked()

    async def cancel(self) -> None:
        self._scope.cancel()
        await anyio.wait_all_tasks_blocked()

    @property
    def holds(self) -> bool:
        return self.slot is not None and self.slot.held and not self.ended


async def test_as_many_hold_a_slot_as_there_are() -> None:
    pool = SlotPool(2)
    async with tasks() as group:
        holders = [Holder(group, pool, number) for number in (1, 2, 3)]
        await anyio.wait_all_tasks_blocked()
        assert [holder.holds for holder in holders] == [True, True, False]
        assert [holder.clock.began for holder in holders] == [[[]], [[]], []]
        await holders[0].free()
        assert holders[2].holds
        for holder in holders[1:]:
            await holder.free()


async def test_without_a_total_nobody_waits() -> None:
    pool = SlotPool(None)
    async with tasks() as group:
        holders = [Holder(group, pool, number) for number in range(20)]
        await anyio.wait_all_tasks_blocked()
        assert all(holder.holds for holder in holders)
        for holder in holders:
            await holder.free()
        assert [holder.clock.began for holder in holders] == [[[]]] * 20


async def test_the_next_holder_is_told_when_its_slot_was_freed() -> None:
    pool = SlotPool(1)
    async with tasks() as group:
        first, second, third = (Holder(group, pool, n, now=10 * n) for n in (1, 2, 3))
        await anyio.wait_all_tasks_blocked()
        first.clock.now = 15
        await first.free()
        assert second.clock.began == [[15]]
        await second.free()
        assert third.clock.began == [[20]]
        await third.free()
        late = Holder(group, pool, 4)
        await anyio.wait_all_tasks_blocked()
        assert late.clock.began == [[]]
        await late.free()


async def test_a_slot_knows_its_position_in_the_plans() -> None:
    pool = SlotPool(None)
    async with pool.take(3, 2, no_time()) as outer:
        assert outer.path == (3, 2)
        nested = SlotPool(None, outer)
        assert nested.path == (3, 2)
        async with nested.take(1, 4, no_time()) as inner:
            assert inner.path == (3, 2, 1, 4)
    assert pool.path == ()


async def test_of_equal_positions_the_first_to_arrive_is_served_first() -> None:
    pool = SlotPool(1)
    async with tasks() as group:
        first, *waiting = (Holder(group, pool, 1) for _ in range(4))
        await anyio.wait_all_tasks_blocked()
        await first.free()
        for holder in waiting:
            assert holder.holds
            await holder.free()


async def test_of_equal_positions_the_one_that_is_cancelled_stops_waiting() -> None:
    """Executions of two nested runs side by side have equal positions."""
    pool = SlotPool(1)
    async with tasks() as group:
        first, second, third = (Holder(group, pool, 1) for _ in range(3))
        await anyio.wait_all_tasks_blocked()
        await third.cancel()
        await first.free()
        assert second.holds
        await second.free()


async def test_who_is_cancelled_while_waiting_is_passed_over() -> None:
    pool = SlotPool(1)
    async with tasks() as group:
        first, second, third = (Holder(group, pool, n, now=n) for n in (1, 2, 3))
        await anyio.wait_all_tasks_blocked()
        await second.cancel()
        await first.free()
        assert (second.slot, third.clock.began) == (None, [[1]])
        await third.free()


async def test_who_is_cancelled_just_when_it_is_served_passes_the_slot_on() -> None:
    """With the reading of its predecessor, since it never held the slot."""
    pool = SlotPool(1)
    slot = Slot(pool, (1, 1), Reading(7))
    await pool.acquire(slot)
    async with tasks() as group:
        second, third = (Holder(group, pool, n, now=n) for n in (2, 3))
        await anyio.wait_all_tasks_blocked()
        second._scope.cancel()
        pool.release(slot)  # serves the second one, which does not run before it is cancelled
        await anyio.wait_all_tasks_blocked()
        assert second.slot is None
        assert third.clock.began == [[7]]
        await third.free()
    assert await pool.acquire(slot) == []


async def test_an_error_in_the_block_frees_the_slot() -> None:
    pool = SlotPool(1)
    with pytest.raises(ValueError, match="inside"):
        async with pool.take(1, 1, no_time()):
            raise ValueError("inside")
    with anyio.fail_after(1):
        async with pool.take(1, 2, no_time()):
            pass


# --- pools within pools --------------------------------------------------------------------------


async def test_an_execution_of_a_nested_run_needs_a_slot_in_all_pools() -> None:
    root = SlotPool(2)
    async with tasks() as group, root.take(1, 1, Reading(0)) as around:
        other = Holder(group, root, 2, now=30)
        async with around.lend():
            nested = SlotPool(2, around)
            first, second, third = (Holder(group, nested, n, now=n) for n in (1, 2, 3))
            await anyio.wait_all_tasks_blocked()
            # The first one has the slot that was lent. Of the two that are left, one waits for the
            # root's slot and the other one for the nested run's.
            assert [h.holds for h in (first, second, third)] == [True, False, False]
            assert not around.held
            await other.free()
            assert second.clock.began == [[30]]
            await first.free()
            # When it got the nested run's slot, one of the root's was free.
            assert third.clock.began == [[1]]
            for holder in (second, third):
                await holder.free()
        assert around.held


async def test_who_waits_in_several_pools_is_told_when_each_slot_was_freed() -> None:
    root = SlotPool(1)
    async with tasks() as group:
        other = Holder(group, root, 2, now=30)
        await anyio.wait_all_tasks_blocked()
        nested = SlotPool(1, Slot(root, (1, 1), Reading(0)))
        first, second, third = (Holder(group, nested, n, now=n) for n in (1, 2, 3))
        await anyio.wait_all_tasks_blocked()
        later = Holder(group, root, 0, now=40)
        await anyio.wait_all_tasks_blocked()
        await other.free()
        # It comes first in the plans. All others wait.
        assert later.holds
        await later.free()
        assert first.clock.began == [[40]]
        last = Holder(group, root, 0, now=50)
        await anyio.wait_all_tasks_blocked()
        await first.free()
        assert last.holds
        await last.free()
        assert second.clock.began == [[1, 50]]
        for holder in (second, third):
            await holder.free()


async def test_who_fails_to_get_the_outer_slot_frees_the_inner_one() -> None:
    root = SlotPool(1)
    async with tasks() as group:
        around = Slot(root, (1, 1), Reading(0))
        other = Holder(group, root, 2, now=30)
        await anyio.wait_all_tasks_blocked()
        nested = SlotPool(1, around)
        first, second = (Holder(group, nested, n, now=n) for n in (1, 2))
        await anyio.wait_all_tasks_blocked()
        await first.cancel()
        await other.free()
        # The first one got the inner slot without waiting, and never held both.
        assert second.clock.began == [[30]]
        await second.free()
        for pool in (nested, root):
            await (late := Holder(group, pool, 3)).free()
            assert late.ended


async def test_a_slot_is_handed_over_once() -> None:
    slot = Slot(SlotPool(1), (1, 1), no_time())
    assert slot.hand_over() is False
    slot.held = True
    assert slot.hand_over() is True
    assert (slot.held, slot.hand_over()) == (False, False)


async def test_a_slot_that_nobody_borrowed_is_kept() -> None:
    root = SlotPool(1)
    async with root.take(1, 1, clock := Reading(0)) as slot:
        async with slot.lend():
            pass
        assert (slot.held, clock.resumed) == (True, [])


async def test_a_slot_that_was_borrowed_is_acquired_again() -> None:
    root = SlotPool(1)
    async with tasks() as group, root.take(1, 1, clock := Reading(5)) as slot:
        async with slot.lend(), SlotPool(None, slot).take(1, 1, inner := Reading(8)):
            assert (slot.held, inner.began) == (False, [[]])
            other = Holder(group, root, 0, now=12)
            await other.free()  # which it does when it has got the slot
            assert not other.ended
        assert (other.ended, other.clock.began) == (True, [[8]])
        assert (slot.held, clock.resumed) == (True, [[12]])


async def test_with_several_borrowers_it_is_acquired_after_the_last_one() -> None:
    root = SlotPool(1)
    async with root.take(1, 1, clock := Reading(5)) as slot:
        async with slot.lend():
            async with slot.lend(), SlotPool(None, slot).take(1, 1, no_time()):
                pass
            assert (slot.held, clock.resumed) == (False, [])
        assert (slot.held, clock.resumed) == (True, [[]])


async def test_a_slot_that_is_lent_again_while_it_is_waited_for_is_freed_for_the_borrower() -> None:
    root = SlotPool(1)
    async with tasks() as group:
        async with root.take(1, 1, clock := Reading(5)) as slot:
            nested = SlotPool(None, slot)
            borrower = Holder(group, nested, 1, now=6)
            leave_first, leave_second = anyio.Event(), anyio.Event()

            async def lend(leave: anyio.Event) -> None:
                async with slot.lend():
                    await leave.wait()

            group.start_soon(lend, leave_first)
            await anyio.wait_all_tasks_blocked()
            assert (borrower.holds, slot.held) == (True, False)
            leave_first.set()
            await anyio.wait_all_tasks_blocked()  # now it waits for its slot
            group.start_soon(lend, leave_second)
            await anyio.wait_all_tasks_blocked()
            await borrower.free()
            # It got the slot, and freed it at once, since the second borrower may want it.
            assert clock.resumed == [[6]]
            assert slot.held is False
            with anyio.fail_after(1):
                async with root.take(1, 2, no_time()):
                    pass
            leave_second.set()
            await anyio.wait_all_tasks_blocked()
            assert slot.held
        with anyio.fail_after(1):
            async with root.take(1, 3, no_time()):
                pass


async def test_a_slot_that_is_waited_for_is_acquired_once() -> None:
    root = SlotPool(1)
    async with tasks() as group:
        async with root.take(1, 2, clock := Reading(5)) as slot:
            borrower = Holder(group, SlotPool(None, slot), 1, now=6)
            ended: list[str] = []

            async def lend(name: str, leave: anyio.Event) -> None:
                async with slot.lend():
                    await leave.wait()
                ended.append(name)

            leave_first, leave_second = anyio.Event(), anyio.Event()
            group.start_soon(lend, "first", leave_first)
            await anyio.wait_all_tasks_blocked()
            leave_first.set()
            await anyio.wait_all_tasks_blocked()  # the first one waits for the slot
            group.start_soon(lend, "second", leave_second)
            await anyio.wait_all_tasks_blocked()
            leave_second.set()
            await anyio.wait_all_tasks_blocked()
            assert ended == ["second"]
            await borrower.free()
            assert ended == ["second", "first"]
            assert (slot.held, clock.resumed) == (True, [[6]])
            # It can be lent and acquired again.
            async with slot.lend(), SlotPool(None, slot).take(1, 1, no_time()):
                pass
            assert (slot.held, clock.resumed) == (True, [[6], []])
        first, second = (Holder(group, root, n) for n in (1, 2))
        await anyio.wait_all_tasks_blocked()
        assert (first.holds, second.holds) == (True, False)
        await first.free()
        await second.free()
