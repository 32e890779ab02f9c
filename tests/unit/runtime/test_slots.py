"""Slots are never overdrawn, are all given back, and go by the order of plans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprint_agent.runtime.slots import Slot, SlotPool
from tests.unit.runtime.clocks import no_time

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Node:
    """An execution: after some steps, nested runs side by side, each with places of its own."""

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
def test_places_are_never_overdrawn_and_nobody_waits_for_ever(
    nodes: list[Node], places: int, cancel_after: int | None
) -> None:
    working: Counter[SlotPool] = Counter()
    bounds: dict[SlotPool, int | None] = {}
    room: dict[SlotPool, int] = {}

    async def execution(node: Node, number: int, around: tuple[SlotPool, ...]) -> None:
        async with around[-1].take(1, number, no_time()) as place:
            for slots in around:
                working[slots] += 1
                assert working[slots] <= (bounds[slots] or places)
            try:
                await steps(node.steps)
            finally:
                for slots in around:
                    working[slots] -= 1
            async with anyio.create_task_group() as group:
                for total, inner in node.runs:
                    group.start_soon(nested, place, inner, total, around)
            assert place.held or not node.runs

    async def nested(
        place: Slot, inner: Sequence[Node], total: int | None, around: tuple[SlotPool, ...]
    ) -> None:
        await steps(len(inner))
        async with place.lend():
            await run(inner, total, around, place)

    async def run(
        inner: Sequence[Node],
        total: int | None,
        around: tuple[SlotPool, ...],
        within: Slot | None = None,
    ) -> None:
        slots = SlotPool(total, within)
        bounds[slots] = total
        room[slots] = min(total or places, room[around[-1]] if around else places)
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
                await run(nodes, places, ())
                group.cancel_scope.cancel()
        # Every place was given back: as many as there are can be taken at once.
        with anyio.fail_after(20):
            for slots, free in room.items():
                async with AsyncExitStack() as stack:
                    for number in range(free):
                        await stack.enter_async_context(slots.take(2, number, no_time()))

    anyio.run(main)


async def steps(count: int) -> None:
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


async def test_places_go_by_the_order_of_plans_and_a_nested_run_s_before_what_comes_later() -> None:
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
