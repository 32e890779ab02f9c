"""How a text says that it finds something, uses it, or only tries it."""

from __future__ import annotations

import pytest

from curate.pack.wording import is_produced, is_stated, is_tried


@pytest.mark.parametrize(
    "before",
    ["so there are ", "It gives us ", "a total of ", "n = $", "is therefore about ", "x \\equiv "],
)
def test_a_number_is_found(before: str) -> None:
    assert is_produced(f"{before}16", len(before))


@pytest.mark.parametrize("before", ["Divide ", "From the ", "those ", "more than "])
def test_a_number_is_used(before: str) -> None:
    assert not is_produced(f"{before}16", len(before))


def test_a_formula_after_of_is_used() -> None:
    assert is_produced("the sum of 16", 11)
    assert not is_stated("the roots of x^2", 13)
    assert is_stated("it simplifies to x^2", 17)


@pytest.mark.parametrize("before", ["Trying ", "Suppose n = ", "for all $", "modulo ", "\\pmod{"])
def test_a_number_is_tried(before: str) -> None:
    assert is_tried(f"{before}16", len(before))
