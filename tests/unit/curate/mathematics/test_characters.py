"""Characters that are not ASCII are written in LaTeX, and control characters are refused."""

from __future__ import annotations

import pytest

from curate.grade.mathematics.characters import Unreadable, plain


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("5", "5"),
        ("√2", "\\sqrt 2"),
        ("10²", "10^{2}"),
        ("x₁₂", "x_{12}"),
        ("10⁻³", "10^{-3}"),
        ("½", "\\frac{1}{2}"),
        ("¹⁄₃", "\\frac{1}{3}"),
        ("30°", "30^\\circ "),
        ("30\\degree", "30^\\circ "),
        ("５", "5"),
        ("−∞", "-\\infty "),
        ("λ", "\\lambda "),
        ("x\u200b", "x"),
        ("中", "中"),
    ],
)
def test_plain(text: str, latex: str) -> None:
    assert plain(text) == latex


@pytest.mark.parametrize("text", ["\x00", "\ud800", "5\x1b[0m", "\x7f"])
def test_control_characters_are_refused(text: str) -> None:
    with pytest.raises(Unreadable, match=r"the character U\+"):
        plain(text)
