"""Names: what symbols, labels and proper nouns a text introduces, and which it only uses."""

from __future__ import annotations

import time

import pytest

from curate.pack.names import names


def keys(text: str, *, produced: bool) -> set[str]:
    return {v.key for v in names(text) if v.produced is produced and (produced or v.used)}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Let $S$ be the sum.", "name S"),
        ("Let us call it $\\theta$.", "name \\theta"),
        ("Call the result $T_3$.", "name T_3"),
        ("Denote this length by $PQ$.", "name PQ"),
        ("Let $\\omega$ be that circle.", "name \\omega"),
        ("We get $A_{2} = 5$.", "name A_2"),
        ("So $a = 5$.", "name a"),
        ("Solving gives $p = -\\frac{1}{2}$.", "name p"),
        ("Lemma 2: it is even.", "label lemma 2"),
        ("This is the sum. (3)", "label equation 3"),
        ("So it is Lake Varna.", "noun lake varna"),
        ("The answer is Busan, Daegu and Incheon.", "noun incheon"),
        ("Hence he was born in the capital: Lisbon.", "noun lisbon"),
    ],
)
def test_what_a_text_introduces(text: str, key: str) -> None:
    assert key in keys(text, produced=True)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Now $S + 1$ is even.", "name S"),
        ("Insert $\\theta$ here.", "name \\theta"),
        ("Adding $PQ$ helps.", "name PQ"),
        ("Then $a^2 = 25$.", "name a"),
        ("By Lemma 2, it is even.", "label lemma 2"),
        ("From (3) we see it.", "label equation 3"),
        ("What is the flower of Busan?", "noun busan"),
        ("Busan is a city.", "noun busan"),
    ],
)
def test_what_a_text_uses(text: str, key: str) -> None:
    assert key in keys(text, produced=False)
    assert key not in keys(text, produced=True)


@pytest.mark.parametrize(
    "text",
    [
        "For each $k$ the same holds.",
        "If $m$ is odd, so is the sum.",
        "Then $n = 4$ is fine.",
        "Let the first digit be $e$, not 0.",
        "So. Then it is. Therefore this. Because of that.",
        "Case 2 is like Case 1.",
    ],
)
def test_what_is_no_name_from_elsewhere(text: str) -> None:
    assert keys(text, produced=True) == set()


@pytest.mark.parametrize(
    "unit",
    [
        "Ab ",
        "A",
        "Ab of ",
        "Lemma ",
        "(1) ",
        "let the a ",
        "let x",
        "$a",
        "a = ",
        "\\(",
        ", ",
        "Aa'",
    ],
)
def test_the_time_is_linear_in_the_length(unit: str) -> None:
    def seconds(size: int) -> float:
        began = time.process_time()
        for _ in names(unit * (size // len(unit))):
            pass
        return time.process_time() - began

    assert seconds(160_000) <= 40 * max(min(seconds(20_000), seconds(20_000)), 0.005)
