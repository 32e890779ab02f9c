"""Equations and inequalities that are multiples of each other."""

from __future__ import annotations

import pytest

from curate.grade.mathematics.equations import compare_equations
from curate.grade.mathematics.forms import Equation
from curate.grade.mathematics.lexer import Habits, tokens
from curate.grade.mathematics.reading import read


def equation(text: str) -> Equation:
    form = read(tokens(text), Habits())
    assert isinstance(form, Equation)
    return form


@pytest.mark.parametrize(
    ("left", "right", "outcome"),
    [
        ("2x+4y=6", "x+2y-3=0", "equal"),
        ("x+y=1", "-x-y=-1", "equal"),
        ("x+y=1", "x+y=2", "unequal"),
        ("x^2+y^2=1", "2x^2=2-2y^2", "equal"),
        ("x^2+y^2=1", "x^2+y^2=2", "unknown"),
        ("x+y<1", "2x+2y<2", "equal"),
        ("x+y<1", "x+y>1", "unequal"),
        ("x+y<1", "x+y\\le 1", "unknown"),
        ("x+y=1", "x+y<1", "unknown"),
        ("x+y=1+1/0", "x+y=1", "unknown"),
        ("x+y=x+y", "x+y=1", "unknown"),
    ],
)
def test_compare(left: str, right: str, outcome: str) -> None:
    assert compare_equations(equation(left), equation(right)).outcome == outcome
    assert compare_equations(equation(right), equation(left)).outcome == outcome
