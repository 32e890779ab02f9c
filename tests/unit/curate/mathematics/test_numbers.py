"""Values of expressions are compared without a tolerance."""

from __future__ import annotations

import pytest

from curate.grade.mathematics.numbers import points, same_value
from tests.unit.curate.mathematics.test_expressions import parsed


@pytest.mark.parametrize(
    ("left", "right", "outcome"),
    [
        ("1/3", "2/6", "equal"),
        ("1/3", "0.33333333333333333333", "unequal"),
        ("\\sqrt{2}\\sqrt{3}", "\\sqrt{6}", "equal"),
        ("\\sqrt{2}", "1.4142135623730950488016887242096980785696718753769", "unequal"),
        ("\\sqrt{10^{60}+1}", "10^{30}", "unequal"),
        ("\\sqrt{2}-\\sqrt{2}", "0", "equal"),
        ("x+y", "y+x", "equal"),
        ("x^2", "x^3", "unequal"),
        ("\\sqrt{x^2}", "x", "unknown"),
        ("\\cos(n\\pi)", "(-1)^n", "unknown"),
        ("\\log 100", "2", "unknown"),
        ("\\log 100", "3", "unequal"),
        ("\\log x^2", "2\\log x", "unknown"),
        ("\\infty", "-\\infty", "unequal"),
        ("\\infty", "5", "unequal"),
        ("\\infty", "x", "unknown"),
        ("9^{9^{9^9}}".replace("9^9}", "9}"), "1", "unknown"),
    ],
)
def test_same_value(left: str, right: str, outcome: str) -> None:
    assert same_value(parsed(left), parsed(right)).outcome == outcome
    assert same_value(parsed(right), parsed(left)).outcome == outcome


def test_the_points_are_the_same_in_every_run() -> None:
    assert list(points(["x", "y"], "real")) == list(points(["x", "y"], "real"))
    assert all(point["x"] > 0 for point in points(["x"], "positive"))
