"""Sets of real numbers."""

from __future__ import annotations

import pytest

from curate.grade.mathematics.characters import Unreadable
from curate.grade.mathematics.forms import Named, Region
from curate.grade.mathematics.lexer import Habits, tokens
from curate.grade.mathematics.reading import read
from curate.grade.mathematics.regions import compare_regions, intersection, merged


def region(text: str) -> Region:
    form = read(tokens(text), Habits())
    form = form.value if isinstance(form, Named) else form
    assert isinstance(form, Region)
    return form


@pytest.mark.parametrize(
    ("left", "right", "outcome"),
    [
        ("x<2", "2>x", "equal"),
        ("(0,1]\\cup[1,2)", "0<x<2", "equal"),
        ("(0,1)\\cup(1,2)", "0<x<2", "unequal"),
        ("(1,2]\\cup(0,1]", "0<x\\le 2", "equal"),
        ("(0,1)\\cup\\{1\\}", "0<x\\le 1", "equal"),
        ("x<\\sqrt{2}", "x<\\frac{2}{\\sqrt2}", "equal"),
        ("x<2a", "x<a+a", "equal"),
        ("a<x<b", "a<x<c", "unequal"),
        ("(a,b]\\cup(c,d]", "(c,d]\\cup(a,b]", "unknown"),
        ("x\\ne 0", "\\mathbb{R}\\setminus\\{0\\}", "equal"),
        ("x\\ne 0", "\\mathbb{R}", "unequal"),
    ],
)
def test_compare(left: str, right: str, outcome: str) -> None:
    assert compare_regions(region(left), region(right)).outcome == outcome


def test_combined() -> None:
    assert intersection([region("x>1"), region("x<3")]) == merged(region("1<x<3"))
    assert intersection([region("x>3"), region("x<1")]) == Region(())
    assert merged(region("2<x<1")) == Region(())
    with pytest.raises(Unreadable, match="variable"):
        intersection([region("x>2a"), region("x<2b")])
