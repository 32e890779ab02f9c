"""Orders the nodes of each column by barycenter, so that few lines cross (Sugiyama's method).

A node is a box, or a waypoint: a line that crosses columns has a waypoint in each of them. If a box
needs another box of the same column, that one is placed above it.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right, insort
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import pairwise

Node = Hashable
"""A box or a waypoint."""
Columns = list[list[Node]]
_SWEEPS = 8


def ordered(
    columns: Sequence[Sequence[Node]],
    across: Iterable[tuple[Node, Node]],
    within: Iterable[tuple[Node, Node]],
) -> Columns:
    """Returns the columns, each in an order with few crossings. The result is the same on every machine.

    Args:
        columns: the nodes of each column.
        across: the lines from a column to the next one.
        within: the lines within a column, from a box to one that must be below it.
    """
    preceding: dict[Node, list[Node]] = {}
    following: dict[Node, list[Node]] = {}
    for source, target in across:
        preceding.setdefault(target, []).append(source)
        following.setdefault(source, []).append(target)
    below: dict[Node, list[Node]] = {}
    for upper, lower in within:
        below.setdefault(upper, []).append(lower)
    current = [_sorted(column, {}, below) for column in columns]
    best = current
    for sweep in range(_SWEEPS):
        current = _swept(current, preceding if sweep % 2 == 0 else following, below, sweep % 2 == 1)
        if crossings(current, following) < crossings(best, following):
            best = current
    return best


def crossings(columns: Sequence[Sequence[Node]], following: Mapping[Node, Sequence[Node]]) -> int:
    """Returns how many pairs of lines between adjacent columns cross.

    `following` has the nodes of the next column to which the lines from each node lead.
    """
    found = 0
    for left, right in pairwise(columns):
        at = {node: n for n, node in enumerate(right)}
        ends: list[int] = []
        for node in left:
            reached = sorted(at[target] for target in following.get(node, ()))
            found += sum(len(ends) - bisect_right(ends, end) for end in reached)
            for end in reached:
                insort(ends, end)
    return found


def _swept(
    columns: Columns,
    neighbors: Mapping[Node, Sequence[Node]],
    below: Mapping[Node, Sequence[Node]],
    backwards: bool,
) -> Columns:
    """Sorts each column by the positions of its neighbors in the column that was sorted before it."""
    made: Columns = []
    place: dict[Node, float] = {}
    for column in reversed(columns) if backwards else columns:
        middle: dict[Node, float] = {}
        for n, node in enumerate(column):
            places = [place[other] for other in neighbors.get(node, ())]
            middle[node] = sum(places) / len(places) if places else n - (len(column) - 1) / 2
        made.append(_sorted(column, middle, below))
        place |= {node: n - (len(column) - 1) / 2 for n, node in enumerate(made[-1])}
    return made[::-1] if backwards else made


def _sorted(
    column: Sequence[Node], middle: Mapping[Node, float], below: Mapping[Node, Sequence[Node]]
) -> list[Node]:
    """Sorts a column by `middle`, and equal nodes by their present order.

    A node that must be below another one is never placed above it.
    """
    at = {node: n for n, node in enumerate(column)}
    waits = dict.fromkeys(column, 0)
    for upper in column:
        for lower in below.get(upper, ()):
            waits[lower] += 1
    ready = [(middle.get(node, 0.0), at[node]) for node in column if not waits[node]]
    heapq.heapify(ready)
    made: list[Node] = []
    while ready:
        node = column[heapq.heappop(ready)[1]]
        made.append(node)
        for lower in below.get(node, ()):
            waits[lower] -= 1
            if not waits[lower]:
                heapq.heappush(ready, (middle.get(lower, 0.0), at[lower]))
    return made
