"""Packs a trajectory so that no component uses what only a sibling found.

`leaks.py` finds the leaks in the stages. Here each leak is mended: the missing edge is added and the
components are packed again, until no leak is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from curate.drops import Dropped, Reason
from curate.pack import leaks
from curate.pack.leaks import Leak
from curate.pack.stages import Packed, grouped, merge_short
from curate.pack.values import ValueReader
from curate.trajectory import Annotated, Component, Trajectory


class LeakFinder(Protocol):
    """Finds leaks that a comparison of values does not show."""

    async def leaks(
        self, given: Trajectory, stages: tuple[tuple[Component, ...], ...], /
    ) -> tuple[Leak, ...]:
        """Returns the leaks between components of the same stage.

        Raises:
            Dropped: if there is no usable answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Packing:
    """How a trajectory is divided into stages."""

    shortest_execution: int = 3
    """The least number of sentences of an execution. A shorter one joins its plan."""
    on_leak: Literal["edge", "drop"] = "edge"
    """Whether a leak adds the missing edge, or drops the trajectory."""
    leak_finder: LeakFinder | None = None
    """Is asked for leaks once no values show any. None if nothing is asked."""


async def pack_leak_free(annotated: Annotated, packing: Packing) -> Packed:
    """Divides a trajectory into stages whose components use nothing that only a sibling found.

    Each leak adds an edge, which moves a component to a later stage. That may show further leaks, so
    the new stages are checked as well. The leak finder is asked once, after the values show no leak.

    Raises:
        Dropped: if there is a leak and `packing.on_leak` is "drop", or as the leak finder does.
    """
    components = annotated.components
    merged = merge_short(components, packing.shortest_execution)
    mended: list[Leak] = []
    finder = packing.leak_finder
    reader = ValueReader()
    while True:
        stages = grouped(merged)
        found = leaks.find(annotated.trajectory.question, stages, reader)
        if not found and finder is not None:
            found, finder = await finder.leaks(annotated.trajectory, stages), None
        if not found:
            return Packed(Annotated(annotated.trajectory, components), stages, tuple(mended))
        if packing.on_leak == "drop":
            raise Dropped(Reason.LEAK, f"component {found[0].component} uses {found[0].value!r}")
        mended += found
        components = leaks.with_edges(components, found)
        merged = leaks.with_edges(merged, found)
