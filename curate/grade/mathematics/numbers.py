"""Compares expressions by their values: exactly if they are rational, else at many points.

There is no tolerance for rounded numbers: 0.3333333333 is not 1/3. Values that are not rational are
computed to more and more digits, and are equal if their difference shrinks with the precision.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Literal

import mpmath

from curate.grade.comparison import EQUAL, UNEQUAL, Comparison, unknown
from curate.grade.mathematics.trees import (
    INFINITY,
    MINUS_INFINITY,
    Apply,
    Name,
    Number,
    Tree,
    names,
)
from curate.grade.mathematics.values import Undecided, exact, value

_DIGITS = 50
_MOST_NAMES = 20
_KINDS: tuple[Literal["positive", "real", "whole"], ...] = ("positive", "real", "whole")
_POINTS = 4
"""How many points of each kind are tried."""

Point = Mapping[str, Any]


def same_value(left: Tree, right: Tree) -> Comparison:
    """Compares two expressions."""
    if left == right:
        return EQUAL
    if INFINITY in (left, right) or MINUS_INFINITY in (left, right):
        return _with_infinity(left, right)
    try:
        first, second = exact(left), exact(right)
        if first is not None and second is not None:
            return EQUAL if first == second else UNEQUAL
    except Undecided as why:
        return unknown(str(why))
    found = _at_points(left, right)
    if found == UNEQUAL and _has_bare_logarithm(left) != _has_bare_logarithm(right):
        for base in (Number(Fraction(10)), Name("e")):
            if _at_points(_with_base(left, base), _with_base(right, base)) != UNEQUAL:
                return unknown("the base of a logarithm is not said")
    return found


def _with_infinity(left: Tree, right: Tree) -> Comparison:
    """Compares infinity with another value, which may be infinite too."""
    ends = (INFINITY, MINUS_INFINITY)
    other = right if left in ends else left
    if other in ends or not ({*names(other)} or "\\infty" in str(other)):
        return UNEQUAL
    return unknown("an expression may be infinite")


def _at_points(left: Tree, right: Tree) -> Comparison:
    variables = sorted({*names(left), *names(right)})
    if len(variables) > _MOST_NAMES:
        return unknown("there are too many variables")
    if not variables:
        return _at(left, right, {})
    results = {kind: _at_kind(left, right, variables, kind) for kind in _KINDS}
    positive, real, whole = (results[kind] for kind in _KINDS)
    if positive == real == EQUAL or (positive == EQUAL and real.outcome == "unknown"):
        return EQUAL
    if positive == EQUAL:
        return unknown("they are equal for positive values only")
    if positive == UNEQUAL and whole == EQUAL:
        return unknown("they are equal for whole numbers only")
    return positive


def _at_kind(left: Tree, right: Tree, variables: list[str], kind: str) -> Comparison:
    seen = 0
    doubt = unknown("they have no value at the points that were tried")
    for point in points(variables, kind):
        found = _at(left, right, point)
        if found == UNEQUAL:
            return UNEQUAL
        if found == EQUAL:
            seen += 1
        else:
            doubt = found
    return EQUAL if seen > 1 else doubt


def points(variables: list[str], kind: str) -> Iterator[Point]:
    """Yields points at which expressions are compared. They are the same in every run."""
    chance = random.Random(f"{kind} {variables}")
    for _ in range(_POINTS):
        if kind == "whole":
            yield {name: mpmath.mpf(chance.randint(2, 9)) for name in variables}
        else:
            signs = (1,) if kind == "positive" else (1, -1)
            yield {
                name: chance.choice(signs)
                * mpmath.mpf(chance.randint(10**6, 3 * 10**6))
                / (2**20 + 7)
                for name in variables
            }


def _at(left: Tree, right: Tree, point: Point) -> Comparison:
    """Compares two expressions at a point, with twice as many digits each time."""
    digits = _DIGITS + _longest_number(left) + _longest_number(right)
    before: Any = None
    try:
        for step in range(3):
            with mpmath.workdps(digits * 2**step):
                first, second = value(left, point), value(right, point)
                gap = abs(first - second)
                noise = max(abs(first), abs(second)) * mpmath.mpf(10) ** -(digits * 2**step - 5)
            if before is not None:
                last_gap, last_noise = before
                if gap <= max(last_gap, last_noise) * mpmath.mpf(10) ** -(digits // 2):
                    return EQUAL
                if gap > noise and abs(gap - last_gap) < gap / 1000:
                    return UNEQUAL
            before = gap, noise
    except Undecided as why:
        return unknown(str(why))
    return unknown("their difference is too small to be certain")


def _longest_number(tree: Tree) -> int:
    match tree:
        case Number(number):
            return len(str(number))
        case Apply(_, arguments):
            return max(map(_longest_number, arguments), default=0)
        case _:
            return 0


def _has_bare_logarithm(tree: Tree) -> bool:
    if not isinstance(tree, Apply):
        return False
    bare = tree.operation == "\\log" and len(tree.arguments) == 1
    return bare or any(map(_has_bare_logarithm, tree.arguments))


def _with_base(tree: Tree, base: Tree) -> Tree:
    """Returns an expression in which logarithms without a base have this one."""
    if not isinstance(tree, Apply):
        return tree
    arguments = tuple(_with_base(one, base) for one in tree.arguments)
    bare = tree.operation == "\\log" and len(arguments) == 1
    return Apply(tree.operation, (*arguments, base) if bare else arguments)
