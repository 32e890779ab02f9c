"""Pairs of answers: right, wrong, and those that cannot be compared.

`data/answers.jsonl` has a pair a line, with its kind and the expected outcome.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from curate.grade.mathematics.compare import compare


@dataclass(frozen=True, slots=True)
class Pair:
    outcome: str
    kind: str
    reference: str
    claimed: str


PAIRS = [
    Pair(**json.loads(line))
    for line in (Path(__file__).parent / "data/answers.jsonl").read_text("utf-8").splitlines()
]
KINDS = sorted({(pair.outcome, pair.kind) for pair in PAIRS})


@pytest.mark.parametrize(("outcome", "kind"), KINDS)
def test_pairs(outcome: str, kind: str) -> None:
    wrong = {
        (pair.reference[:200], pair.claimed[:200]): found
        for pair in PAIRS
        if (pair.outcome, pair.kind) == (outcome, kind)
        and (found := compare(pair.reference, pair.claimed)).outcome != outcome
    }
    assert not wrong


def test_the_order_of_two_answers_does_not_matter() -> None:
    for pair in PAIRS:
        assert compare(pair.claimed, pair.reference).outcome == pair.outcome, pair


def test_every_answer_is_equal_to_itself() -> None:
    for pair in PAIRS:
        for text in (pair.reference, pair.claimed):
            assert compare(text, text).outcome == "equal", text


def test_what_cannot_be_compared_has_a_reason() -> None:
    for pair in PAIRS:
        found = compare(pair.reference, pair.claimed)
        assert bool(found.reason) == (found.outcome == "unknown"), pair


def test_how_many_cannot_be_compared() -> None:
    """At least 400 pairs of at least 40 kinds, and of those that are right or wrong none is lost."""
    outcomes = Counter(
        (pair.outcome, compare(pair.reference, pair.claimed).outcome) for pair in PAIRS
    )
    unknown = sum(count for (_, found), count in outcomes.items() if found == "unknown")
    print(
        f"{len(PAIRS)} pairs of {len(KINDS)} kinds, {unknown / len(PAIRS):.1%} cannot be compared"
    )
    assert len(PAIRS) >= 400
    assert len(KINDS) >= 40
    assert {expected for (expected, found) in outcomes if found == "unknown"} == {"unknown"}
    assert unknown < len(PAIRS) / 5


def test_answers_of_different_kinds_are_not_equal() -> None:
    """Every right answer is compared with the first answer of every other kind."""
    firsts = {pair.kind: pair.reference for pair in reversed(PAIRS) if pair.outcome == "equal"}
    same = [
        (kind, other)
        for kind, first in firsts.items()
        for other, second in firsts.items()
        if kind < other and compare(first, second).outcome == "equal"
    ]
    # 5 is the first answer of "integers and decimals" and of "units", 30 of two others, and so on.
    values = {firsts[kind] for pair in same for kind in pair}
    assert values <= {"5", "\\boxed{5}", "1/2", "5/2", "50\\%", "1,2", "B", "\\{\\}"}, same
