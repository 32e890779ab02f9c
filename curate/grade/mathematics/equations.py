"""Compares relations between expressions, which may be written in many ways."""

from __future__ import annotations

from typing import Any

import mpmath

from curate.grade.comparison import EQUAL, UNEQUAL, Comparison, unknown
from curate.grade.mathematics.forms import Equation
from curate.grade.mathematics.numbers import points
from curate.grade.mathematics.trees import Tree, difference, names
from curate.grade.mathematics.values import Undecided, value

_DIGITS = 80
_CLOSE = mpmath.mpf(10) ** -50


def compare_equations(left: Equation, right: Equation) -> Comparison:
    """Compares two relations. They are equal if one is a multiple of the other."""
    if left.relation != right.relation:
        return unknown("they are relations of different kinds")
    first, second = difference(left.left, left.right), difference(right.left, right.right)
    variables = sorted({*names(first), *names(second)})
    try:
        with mpmath.workdps(_DIGITS):
            ratio = _ratio(first, second, variables)
            if ratio is not None and (left.relation in ("=", "\\ne") or ratio > 0):
                return EQUAL
            if all(_is_linear(tree, variables) for tree in (first, second)):
                return UNEQUAL
    except Undecided as why:
        return unknown(str(why))
    return unknown("equations that are no multiples of each other")


def _ratio(first: Tree, second: Tree, variables: list[str]) -> Any:
    """Returns by which number one expression is a multiple of the other, or None."""
    ratio: Any = None
    for kind in ("positive", "real"):
        for point in points(variables, kind):
            above, below = value(first, point), value(second, point)
            if not below or not above:
                raise Undecided("an equation without content")
            if ratio is None:
                ratio = above / below
            elif abs(above - ratio * below) > _CLOSE * abs(above):
                return None
    return ratio if not mpmath.im(ratio) else None


def _is_linear(tree: Tree, variables: list[str]) -> bool:
    zero = dict.fromkeys(variables, mpmath.mpf(0))
    try:
        start = value(tree, zero)
        for p, q in zip(points(variables, "real"), points(variables, "positive"), strict=True):
            both = {name: p[name] + q[name] for name in variables}
            terms = value(tree, p), value(tree, q), value(tree, both), start
            if abs(terms[0] + terms[1] - terms[2] - terms[3]) > _CLOSE * max(map(abs, terms)):
                return False
    except Undecided:
        return False
    return True
