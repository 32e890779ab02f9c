"""Sets of real numbers: unions of intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cmp_to_key

import mpmath

from curate.grade.comparison import EQUAL, UNEQUAL, Comparison, all_of, unknown
from curate.grade.mathematics.characters import Unreadable
from curate.grade.mathematics.forms import Form, Interval, Quantity, Region
from curate.grade.mathematics.numbers import same_value
from curate.grade.mathematics.trees import INFINITY, MINUS_INFINITY, Tree, names
from curate.grade.mathematics.values import Undecided, value


@dataclass(frozen=True, slots=True)
class _End:
    """An end of an interval, just before a number, at it, or just after it."""

    tree: Tree
    side: int
    """-1, 0 or 1."""


def compare_regions(left: Region, right: Region) -> Comparison:
    """Compares two sets of real numbers."""
    try:
        left, right = merged(left), merged(right)
    except (Undecided, Unreadable):
        if len(left.pieces) != len(right.pieces):
            return unknown("sets with ends whose order is not known")
        found = all_of(_compare(a, b) for a, b in zip(left.pieces, right.pieces, strict=True))
        return (
            found if found == EQUAL or len(left.pieces) == 1 else unknown("sets in another order")
        )
    if len(left.pieces) != len(right.pieces):
        return UNEQUAL
    return all_of(_compare(a, b) for a, b in zip(left.pieces, right.pieces, strict=True))


def merged(region: Region) -> Region:
    """Returns the same set as intervals that do not touch, in order.

    Raises:
        Undecided: an end is not a number, or its order is not known.
    """
    if any(
        name for piece in region.pieces for end in (piece.low, piece.high) for name in names(end)
    ):
        raise Undecided("an end of an interval contains a variable")
    spans = [(_low(p), _high(p)) for p in region.pieces]
    spans = [span for span in spans if _order(*span) <= 0]
    spans.sort(key=cmp_to_key(lambda a, b: _order(a[0], b[0])))
    joined: list[tuple[_End, _End]] = []
    for low, high in spans:
        if joined and _touches(joined[-1][1], low):
            start, end = joined[-1]
            joined[-1] = start, high if _order(end, high) < 0 else end
        else:
            joined.append((low, high))
    return Region(tuple(_interval(low, high) for low, high in joined))


def intersection(regions: Sequence[Region]) -> Region:
    """Returns what is in all of the sets.

    Raises:
        Unreadable: the order of their ends is not known.
    """
    found, *others = regions
    try:
        for other in others:
            pieces: list[Interval] = []
            for a in found.pieces:
                for b in other.pieces:
                    low = max(_low(a), _low(b), key=cmp_to_key(_order))
                    high = min(_high(a), _high(b), key=cmp_to_key(_order))
                    if _order(low, high) <= 0:
                        pieces.append(_interval(low, high))
            found = Region(tuple(pieces))
        return merged(found)
    except Undecided as why:
        raise Unreadable(f"sets of numbers are combined: {why}") from why


def only_values(values: Sequence[Form]) -> Form:
    """Returns the last of several forms of one value.

    Raises:
        Unreadable: they do not have the same value.
    """
    *others, last = values
    for other in others:
        if not isinstance(other, Quantity) or not isinstance(last, Quantity):
            raise Unreadable("the sides of an equation are not numbers")
        if same_value(other.tree, last.tree) != EQUAL or other.unit != last.unit:
            raise Unreadable("the sides of an equation have different values")
    return last


def _compare(left: Interval, right: Interval) -> Comparison:
    if (left.with_low, left.with_high) != (right.with_low, right.with_high):
        return UNEQUAL
    return all_of((same_value(left.low, right.low), same_value(left.high, right.high)))


def _low(piece: Interval) -> _End:
    return _End(piece.low, 0 if piece.with_low else 1)


def _high(piece: Interval) -> _End:
    return _End(piece.high, 0 if piece.with_high else -1)


def _interval(low: _End, high: _End) -> Interval:
    return Interval(low.tree, high.tree, low.side == 0, high.side == 0)


def _touches(end: _End, start: _End) -> bool:
    """Whether no number is between the end of one interval and the start of the next."""
    order = _number_order(end.tree, start.tree)
    return order > 0 or (order == 0 and start.side - end.side <= 1)


def _order(left: _End, right: _End) -> int:
    order = _number_order(left.tree, right.tree)
    return order or (left.side > right.side) - (left.side < right.side)


def _number_order(left: Tree, right: Tree) -> int:
    if left == right:
        return 0
    ends = (MINUS_INFINITY, INFINITY)
    places = [(-1, 1)[ends.index(tree)] if tree in ends else 0 for tree in (left, right)]
    if any(places):
        return (places[0] > places[1]) - (places[0] < places[1])
    found = same_value(left, right)
    if found == EQUAL:
        return 0
    if found != UNEQUAL:
        raise Undecided(found.reason)
    with mpmath.workdps(50):
        first, second = value(left, {}), value(right, {})
        if mpmath.im(first) or mpmath.im(second):
            raise Undecided("an end of an interval is not real")
        return 1 if first > second else -1
