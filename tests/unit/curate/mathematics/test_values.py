"""Values: exact if they are rational, bounded always."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import pytest

from curate.grade.mathematics.trees import Apply, Name, Number, Tree
from curate.grade.mathematics.values import Undecided, exact, value

PI = Name("\\pi")


def number(whole: int) -> Tree:
    return Number(Fraction(whole))


def test_rational_values_are_exact() -> None:
    third = Apply("/", (number(1), number(3)))
    assert exact(third) == Fraction(1, 3)
    assert exact(Apply("^", (third, number(-2)))) == 9
    assert exact(PI) is None
    assert exact(Apply("root", (number(4), number(2)))) is None


def test_other_values_are_computed() -> None:
    with mpmath.workdps(30):
        assert abs(value(Apply("\\sin", (PI,)), {})) == 0
        assert abs(value(Apply("\\sin", (Name("x"),)), {"x": mpmath.mpf(1)}) - mpmath.sin(1)) == 0
        assert value(Apply("root", (number(-8), number(3))), {}) == -2


@pytest.mark.parametrize(
    "tree",
    [
        Apply("^", (number(9), Apply("^", (number(9), number(9))))),
        Apply("!", (number(10**6),)),
        Apply("binom", (number(10**9), number(10**8))),
        Apply("/", (number(1), number(0))),
        Apply("^", (number(0), number(0))),
    ],
)
def test_exact_values_are_bounded(tree: Tree) -> None:
    with pytest.raises(Undecided):
        exact(tree)


@pytest.mark.parametrize(
    "tree",
    [
        Apply("^", (PI, number(10**6))),
        Apply("\\exp", (number(10**9),)),
        Apply("\\ln", (number(0),)),
        Apply("+", (number(1), Apply("^", (PI, number(-1000))))),
        Apply("floor", (Apply("root", (number(9), number(2))),)),
        Apply("!", (Apply("*", (PI, number(10**6))),)),
        Apply("*", (Name("\\infty"), number(2))),
        Apply("pm", (number(2),)),
    ],
)
def test_computed_values_are_bounded(tree: Tree) -> None:
    with mpmath.workdps(50), pytest.raises(Undecided):
        value(tree, {})
