"""Comparisons of texts: the same text, empty texts, and other readings."""

from __future__ import annotations

import pytest

from curate.grade.mathematics.compare import compare


@pytest.mark.parametrize(
    ("left", "right", "outcome"),
    [
        ("?!", "?!", "equal"),
        ("\x00", "\x00", "equal"),
        ("\\int_0^1 x\\,dx", "\\int_{0}^1 x dx", "unknown"),
        ("\\int_0^1 x\\,dx", "\\int_0^1 x dx", "equal"),
        ("", "\\left", "unknown"),
        ("5 m", "5\\text{ m}", "equal"),
        ("5 m", "5", "unknown"),
        ("1,234", "1, 234", "unknown"),
        ("0,5", "0.5", "unknown"),
        ("Yes", "yes", "equal"),
        ("5 mg", "5 Mg", "unequal"),
        ("x\\text{ is odd}", "x\\text{ is even}", "unequal"),
    ],
)
def test_compare(left: str, right: str, outcome: str) -> None:
    assert compare(left, right).outcome == outcome
    assert compare(right, left).outcome == outcome
