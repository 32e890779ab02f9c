"""Tokens: every character is in one, or is layout."""

from __future__ import annotations

from fractions import Fraction

import pytest

from curate.grade.mathematics.characters import Unreadable
from curate.grade.mathematics.lexer import Habits, tokens


def texts(text: str, habits: Habits = Habits()) -> list[str]:
    return [token.text for token in tokens(text, habits)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234", Fraction(1234)),
        ("10,\\!080", Fraction(10080)),
        ("1 000 000", Fraction(1000000)),
        (".5", Fraction(1, 2)),
        ("5.", Fraction(5)),
        ("0.1\\overline{6}", Fraction(1, 6)),
        ("0.(3)", Fraction(1, 3)),
        ("4.5e3", Fraction(4500)),
        ("1e-3", Fraction(1, 1000)),
    ],
)
def test_a_number(text: str, value: Fraction) -> None:
    (token,) = tokens(text)
    assert token.value == value


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("\\dfrac{1}{2}", ["\\frac", "{", "1", "}", "{", "2", "}"]),
        ("\\left(x\\right)", ["(", "x", ")"]),
        ("\\text{5 km}", ["5", "km"]),
        ("$x$", ["x"]),
        ("$5", ["$", "5"]),
        ("(1,234)", ["(", "1", ",", "234", ")"]),
        ("3 x 10^8", ["3", "*", "10", "^", "8"]),
        ("dy/dx", ["dy/dx"]),
        ("\\mathbf{x}\\hat{x}", ["x", "\\hat{x}"]),
        ("a \\leq b", ["a", "\\le", "b"]),
        ("B. Paris", ["(", "B", ")", "Paris"]),
        ("1, ...", ["1", ",", "\\ldots"]),
        ("\\boxed{5}", ["{", "5", "}"]),
    ],
)
def test_the_parts(text: str, parts: list[str]) -> None:
    expected = parts[1:] if text.startswith("B.") else parts
    assert texts(text)[-len(expected) :] == expected


def test_habits() -> None:
    assert texts("1,234", Habits(comma_groups=False)) == ["1", ",", "234"]
    assert texts("2e3", Habits(exponent=False)) == ["2", "e", "3"]
    assert texts("0,5", Habits(decimal_comma=True)) == ["1/2"]


def test_white_space_and_text_are_remembered() -> None:
    five, unit = tokens("5\\text{ m}")
    assert (five.spaced, unit.spaced, unit.in_text) == (False, True, True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("5\u202e", "character"),
        ("5 \\", "backslash"),
        ("\\text{a", "brace is not closed"),
        ("1. 5", "full stop"),
        ("1e99999", "exponent"),
        ("9" * 401, "digits"),
        ("\\text{" * 41 + "}" * 41, "nested"),
    ],
)
def test_what_cannot_be_read(text: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        tokens(text)
