"""Packing without leaks: which edges are added, and when the leak finder is asked."""

from __future__ import annotations

import pytest

from curate.drops import Dropped, Reason
from curate.pack.leak_free import Packing, pack_leak_free
from curate.pack.leaks import Leak
from curate.trajectory import Annotated, Component, Trajectory

pytestmark = pytest.mark.anyio


def annotated(*components: Component) -> Annotated:
    return Annotated(Trajectory("What?", "", "7"), components)


class FakeFinder:
    """Finds the same leaks at each call."""

    def __init__(self, *leaks: Leak) -> None:
        self.calls: list[list[list[int]]] = []
        self._leaks = leaks

    async def leaks(
        self, given: Trajectory, stages: tuple[tuple[Component, ...], ...]
    ) -> tuple[Leak, ...]:
        self.calls.append([[c.number for c in stage] for stage in stages])
        return self._leaks


def numbers(stages: tuple[tuple[Component, ...], ...]) -> list[list[int]]:
    return [[c.number for c in stage] for stage in stages]


FIRST = Component(1, prompt="a", execution="One. Two. So 1 + 1 = 517.")
SECOND = Component(2, prompt="b", execution="Use 517. Two. So 2 + 2 = 618.")
THIRD = Component(3, prompt="c", execution="Use 618. Two. Three.")


async def test_edges_are_added_until_no_leak_is_left() -> None:
    packed = await pack_leak_free(annotated(FIRST, SECOND, THIRD), Packing())
    assert packed.leaks == (Leak(2, 1, "517"), Leak(3, 2, "618"))
    assert numbers(packed.stages) == [[1], [2], [3]]
    assert [sorted(c.parents) for c in packed.annotated.components] == [[], [1], [2]]


async def test_independent_components_stay_in_one_stage() -> None:
    other = Component(2, prompt="b", execution="Three. Four. Five.")
    given = annotated(FIRST, other)
    packed = await pack_leak_free(given, Packing())
    assert packed.annotated == given
    assert (packed.leaks, numbers(packed.stages)) == ((), [[1, 2]])


async def test_a_leak_can_drop_the_trajectory() -> None:
    with pytest.raises(Dropped, match="component 2 uses '517'") as caught:
        await pack_leak_free(annotated(FIRST, SECOND), Packing(on_leak="drop"))
    assert caught.value.reason is Reason.LEAK


async def test_the_finder_is_asked_once_after_the_values() -> None:
    finder = FakeFinder(Leak(3, 1, "that it fails"))
    third = Component(3, prompt="c", execution="It. Fails. Too.")
    packed = await pack_leak_free(annotated(FIRST, SECOND, third), Packing(leak_finder=finder))
    assert finder.calls == [[[1, 3], [2]]]
    assert packed.leaks == (Leak(2, 1, "517"), Leak(3, 1, "that it fails"))
    assert numbers(packed.stages) == [[1], [2, 3]]


async def test_the_leaks_of_the_finder_can_drop_the_trajectory_too() -> None:
    finder = FakeFinder(Leak(2, 1, "that it fails"))
    other = Component(2, prompt="b", execution="Three. Four. Five.")
    with pytest.raises(Dropped, match="that it fails"):
        await pack_leak_free(annotated(FIRST, other), Packing(on_leak="drop", leak_finder=finder))


async def test_short_executions_are_no_executions() -> None:
    """The number of sentences decides whether a component is a sibling at all."""
    given = annotated(FIRST, SECOND)
    packed = await pack_leak_free(given, Packing(shortest_execution=9))
    assert numbers(packed.stages) == [[1, 2]]
    assert packed.leaks == ()
