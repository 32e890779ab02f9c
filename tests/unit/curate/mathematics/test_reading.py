"""Which form an answer has."""

from __future__ import annotations

import pytest

from curate.grade.mathematics.characters import Unreadable
from curate.grade.mathematics.forms import (
    Collection,
    Congruence,
    Equation,
    Matrix,
    Named,
    Option,
    Phrase,
    Progression,
    Quantity,
    Region,
)
from curate.grade.mathematics.lexer import Habits, tokens
from curate.grade.mathematics.reading import read


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("5", Quantity),
        ("5 km/h", Quantity),
        ("B", Quantity),
        ("(B)", Option),
        ("B) Paris", Option),
        ("(a)(b)", Quantity),
        ("(A) and (B)", Collection),
        ("1,2", Collection),
        ("(1,2)", Collection),
        ("(1,2]", Region),
        ("\\mathbb{R}", Region),
        ("\\emptyset", Region),
        ("x=5", Named),
        ("x<5", Named),
        ("x=1 or x=2", Named),
        ("\\frac{dy}{dx}=2x", Named),
        ("2x=10", Equation),
        ("xy=1", Equation),
        ("x+y<1", Equation),
        ("2^3=8", Quantity),
        ("n \\equiv 1 \\pmod 3", Congruence),
        ("1,2,\\ldots,n", Progression),
        ("\\begin{pmatrix}1&2\\end{pmatrix}", Matrix),
        ("Tuesday", Phrase),
        ("n\\text{ odd}", Phrase),
        ("no solution", Region),
    ],
)
def test_forms(text: str, form: type) -> None:
    assert type(read(tokens(text), Habits())) is form


@pytest.mark.parametrize(
    "text",
    [
        *("", "=", ",", "1,,2", "1,", "x<y<z<w", "1<2<3", "x>1, x<3", "a \\equiv b"),
        *("1 \\pmod 2 \\pmod 3", "x+1 \\in \\mathbb{R}", "[5]", "(1,\\ldots,n)", "2^3=9", "5 # 6"),
        *("\\begin{pmatrix}1&2\\\\3\\end{pmatrix}", "\\begin{cases}1\\end{cases}", "A \\cap B"),
        *("\\{x : x^2=2\\}", "\\mathbb{R}\\setminus(0,1)", ",".join("1" * 70)),
    ],
)
def test_what_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        read(tokens(text), Habits())
