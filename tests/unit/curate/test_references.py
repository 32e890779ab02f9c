"""References: missing ones are missing, and long ones are references."""

from __future__ import annotations

import pytest

from curate.read.references import reference


@pytest.mark.parametrize(
    "text", ["", "  ", "nan", "NaN", "None", "null", "N/A", "proof", "Proof.", "notfound"]
)
def test_missing(text: str) -> None:
    assert reference(text) == ""


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" 4 ", "4"),
        ("none", "none"),
        ("We add.\n\nSo \\boxed{4}.", "4"),
        ("9 * 2 = 18\n#### 18", "18"),
        ("It holds.\n\n" + "So it is. " * 100, ("It holds.\n\n" + "So it is. " * 100).strip()),
    ],
)
def test_references(text: str, answer: str) -> None:
    assert reference(text) == answer
