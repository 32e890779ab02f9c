"""Which trajectories the report shows."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from curate import report, select
from curate.candidate import Candidate
from curate.countdown import CountdownData, trajectories
from curate.report import examples
from curate.trajectory import Trajectory
from tests import curated
from tests.curated import CHAIN, QUARTIC
from tests.unit.curate.report_kit import count, text_of


def named(candidate: Candidate, n: int) -> Candidate:
    """Returns the same trajectory with another question, and so with another key."""
    packed = candidate.packed
    assert packed is not None
    told = packed.annotated.trajectory
    other = Trajectory(f"{told.question} ({n})", told.text, told.answer, told.source)
    annotated = replace(packed.annotated, trajectory=other)
    return replace(candidate, packed=replace(packed, annotated=annotated))


def picked(candidates: list[Candidate]) -> tuple[examples.Example, ...]:
    picks = examples.ExamplePicker()
    for candidate in candidates:
        picks.add(candidate, select.measure(candidate.transcript, count))
    return picks.picked


def test_the_choice_does_not_depend_on_the_order() -> None:
    candidates = [named(QUARTIC, n) for n in range(40)] + [named(CHAIN, 1)]
    choices = [picked(candidates), picked(candidates[::-1])]
    keys = [[example.key for example in choice] for choice in choices]
    assert keys[0] == keys[1]
    assert keys[0][:9] == sorted(c.trajectory.key for c in candidates[:-1])[:9]


def test_parallel_ones_come_first_and_one_is_unsplit() -> None:
    parallel = [named(QUARTIC, n) for n in range(3)]
    chains = [replace(named(CHAIN, n), unsplit=False) for n in range(4)]
    unsplit = [named(CHAIN, n) for n in range(10, 20)]
    found = [c for _, _, c, _ in picked([*unsplit, *chains, *parallel])]
    assert len(found) == 10
    assert all(c in parallel for c in found[:3])
    assert all(c in chains for c in found[3:7])
    assert all(c.unsplit for c in found[7:])
    many = [named(QUARTIC, n) for n in range(30)]
    assert [c.unsplit for _, _, c, _ in picked([*unsplit, *many])] == [False] * 9 + [True]


def test_a_report_on_five_thousand_takes_a_bounded_time(tmp_path: Path) -> None:
    made = [
        Candidate(packed)
        for packed in trajectories(CountdownData(spaces=curated.SMALL, trajectories=25), "train")
    ]
    many = (named(candidate, n) for n in range(200) for candidate in made)
    curated.write(tmp_path, many)
    start = time.process_time()
    path = report.write(tmp_path, len)
    assert time.process_time() - start < 60
    assert "Kept 5,000" in text_of(path)
    assert path.stat().st_size < 1_000_000
