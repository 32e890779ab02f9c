"""The order of boxes in columns: by barycentre, so that few lines cross (Sugiyama's method).

A line that passes columns by has a way point in each of them. In a column, a box that another of the
same column needs stands above it.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right, insort
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import pairwise

Slot = Hashable
Columns = list[list[Slot]]
_SWEEPS = 8


def ordered(
    columns: Sequence[Sequence[Slot]],
    across: Iterable[tuple[Slot, Slot]],
    within: Iterable[tuple[Slot, Slot]],
) -> Columns:
    """The columns, each in an order with few crossings, the same on every machine.

    `across` are lines from a column to the next one, `within` those from a box to one that must stand
    below it.
    """
    before: dict[Slot, list[Slot]] = {}
    behind: dict[Slot, list[Slot]] = {}
    for source, target in across:
        before.setdefault(target, []).append(source)
        behind.setdefault(source, []).append(target)
    below: dict[Slot, list[Slot]] = {}
    for upper, lower in within:
        below.setdefault(upper, []).append(lower)
    current = [_sorted(column, {}, below) for column in columns]
    best = current
    for sweep in range(_SWEEPS):
        current = _swept(current, before if sweep % 2 == 0 else behind, below, sweep % 2 == 1)
        if crossings(current, behind) < crossings(best, behind):
            best = current
    return best


def crossings(columns: Sequence[Sequence[Slot]], behind: Mapping[Slot, Sequence[Slot]]) -> int:
    """How many pairs of lines between neighbouring columns cross."""
    found = 0
    for left, right in pairwise(columns):
        at = {slot: n for n, slot in enumerate(right)}
        ends: list[int] = []
        for slot in left:
            reached = sorted(at[target] for target in behind.get(slot, ()))
            found += sum(len(ends) - bisect_right(ends, end) for end in reached)
            for end in reached:
                insort(ends, end)
    return found


def _swept(
    columns: Columns,
    neighbours: Mapping[Slot, Sequence[Slot]],
    below: Mapping[Slot, Sequence[Slot]],
    backwards: bool,
) -> Columns:
    """Each column sorted by where its neighbours stand, which have been sorted before it."""
    made: Columns = []
    place: dict[Slot, float] = {}
    for column in reversed(columns) if backwards else columns:
        middle: dict[Slot, float] = {}
        for n, slot in enumerate(column):
            places = [place[other] for other in neighbours.get(slot, ())]
            middle[slot] = sum(places) / len(places) if places else n - (len(column) - 1) / 2
        made.append(_sorted(column, middle, below))
        place |= {slot: n - (len(column) - 1) / 2 for n, slot in enumerate(made[-1])}
    return made[::-1] if backwards else made


def _sorted(
    column: Sequence[Slot], middle: Mapping[Slot, float], below: Mapping[Slot, Sequence[Slot]]
) -> list[Slot]:
    """A column by `middle`, then as it was; nothing stands above what it must stand below."""
    at = {slot: n for n, slot in enumerate(column)}
    waits = dict.fromkeys(column, 0)
    for upper in column:
        for lower in below.get(upper, ()):
            waits[lower] += 1
    ready = [(middle.get(slot, 0.0), at[slot]) for slot in column if not waits[slot]]
    heapq.heapify(ready)
    made: list[Slot] = []
    while ready:
        slot = column[heapq.heappop(ready)[1]]
        made.append(slot)
        for lower in below.get(slot, ()):
            waits[lower] -= 1
            if not waits[lower]:
                heapq.heappush(ready, (middle.get(lower, 0.0), at[lower]))
    return made
