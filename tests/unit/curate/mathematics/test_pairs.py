"""Pairs of forms: what is certain, and what is not."""

from __future__ import annotations

import pytest

from curate.grade.mathematics.forms import Form
from curate.grade.mathematics.lexer import Habits, tokens
from curate.grade.mathematics.pairs import compare_answers
from curate.grade.mathematics.reading import read


def form(text: str) -> Form:
    return read(tokens(text), Habits())


@pytest.mark.parametrize(
    ("left", "right", "outcome"),
    [
        ("\\{5\\}", "5", "equal"),
        ("\\{5\\}", "x=5", "equal"),
        ("\\{\\{5\\}\\}", "\\{5\\}", "unequal"),
        ("x=1,y=2", "y=2,x=1", "equal"),
        ("x=1,y=2", "x=2,y=1", "unequal"),
        ("1,2", "2,1", "equal"),
        ("1,2", "(2,1)", "unknown"),
        ("1,1,2", "1,2,2", "unequal"),
        ("5 kg", "5 m", "unequal"),
        ("5 eggs", "5 meters", "unknown"),
        ("x=5", "y=5", "unknown"),
        ("x=5", "y=6", "unequal"),
        ("(B)", "5", "unknown"),
        ("red", "blue", "unequal"),
        ("red", "5", "unequal"),
        ("none", "5", "unknown"),
        ("(1,2]", "5", "unequal"),
        ("(1,2]", "x", "unknown"),
        ("n \\equiv 1 \\pmod 3", "m \\equiv 1 \\pmod 3", "unknown"),
        ("n \\equiv a \\pmod m", "n \\equiv b \\pmod m", "unknown"),
        ("1,2,\\ldots", "1,2,3,\\ldots", "unknown"),
        ("1,2,\\ldots", "1,3,\\ldots", "unequal"),
    ],
)
def test_pairs(left: str, right: str, outcome: str) -> None:
    assert compare_answers(form(left), form(right)).outcome == outcome
    assert compare_answers(form(right), form(left)).outcome == outcome
