"""The parser of expressions: what it reads, and what it refuses rather than skips."""

from __future__ import annotations

from fractions import Fraction

import pytest

from curate.grade.mathematics.characters import Unreadable
from curate.grade.mathematics.expressions import Expressions, ordinal
from curate.grade.mathematics.lexer import tokens
from curate.grade.mathematics.trees import Apply, Name, Number, Tree
from curate.grade.mathematics.values import exact


def parsed(text: str) -> Tree:
    parser = Expressions(tokens(text))
    tree = parser.sum()
    if parser.peek() is not None:
        raise Unreadable(f"{parser.shown()} is left")
    return tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1+2*3", 7),
        ("-2^2", -4),
        ("3(1+2)", 9),
        ("2(3)", 6),
        ("2(1/2)", 1),
        ("2 1/2", Fraction(5, 2)),
        ("2\\frac12", Fraction(5, 2)),
        ("\\frac{1}{2}\\cdot 4", 2),
        ("2^{-1}", Fraction(1, 2)),
        ("10^-2", Fraction(1, 100)),
        ("5!", 120),
        ("|{-3}|", 3),
        ("\\binom{5}{2}", 10),
        ("12^{\\text{th}}", 12),
        ("101_2", 5),
        ("\\lfloor 5/2 \\rfloor", 2),
        ("6/2*3", 9),
        ("50\\%", Fraction(1, 2)),
    ],
)
def test_values(text: str, value: Fraction) -> None:
    assert exact(parsed(text)) == value


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("x_1", Name("x_{1}")),
        ("x_{12}'", Name("x_{12}'")),
        ("\\frac{dy}{dx}", Name("dy/dx")),
        ("\\frac{d^2y}{dx^2}", Name("d2y/dx2")),
        ("ab", Apply("*", (Name("a"), Name("b")))),
        ("f(x)", Apply("call f", (Name("x"),))),
        ("a(x)", Apply("*", (Name("a"), Name("x")))),
        ("\\sin^{-1}x", Apply("\\arcsin", (Name("x"),))),
        ("\\log_2 x", Apply("\\log", (Name("x"), Number(Fraction(2))))),
        ("30^\\circ", Apply("degree", (Number(Fraction(30)),))),
    ],
)
def test_trees(text: str, tree: Tree) -> None:
    assert parsed(text) == tree


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1/2x",
            "2^3^2",
            "x 2",
            "(1+2)3",
            "2 3",
            "\\sqrt51",
            "x^ab",
            "3!!",
            "\\sin x/2",
            "\\ln^{-1}x",
            "3\\frac{7}{2}",
        ),
        *(
            "",
            "+",
            "x+",
            "(x",
            "x)",
            "{x",
            "x_",
            "|x",
            "\\frac{1}",
            "\\int x",
            "1 widget",
            "19_8",
            "1_{x}",
        ),
        *("\\frac{d}{dx}", "a_{1", "(" * 100, "\\frac" * 100, "-" * 100, "1" + "/1" * 30),
    ],
)
def test_what_has_two_readings_or_none_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        parsed(text)


def test_ordinals() -> None:
    endings = {
        1: "st",
        2: "nd",
        3: "rd",
        4: "th",
        11: "th",
        12: "th",
        13: "th",
        21: "st",
        112: "th",
    }
    assert {n: ordinal(Fraction(n)) for n in endings} == endings
