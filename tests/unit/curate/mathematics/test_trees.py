"""Trees of expressions."""

from __future__ import annotations

from fractions import Fraction

from curate.grade.mathematics.trees import (
    Apply,
    Name,
    Number,
    difference,
    names,
    negative,
    times,
    uses,
)

X, TWO = Name("x"), Number(Fraction(2))


def test_trees() -> None:
    tree = difference(Apply("\\sin", (X,)), times(times(TWO, Name("\\pi")), Name("y")))
    assert sorted(names(tree)) == ["x", "y"]
    assert uses(tree, "\\sin")
    assert not uses(tree, "\\cos")
    assert negative(TWO) == Number(Fraction(-2))
    assert times(times(X, X), X) == Apply("*", (X, X, X))
