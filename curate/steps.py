"""The steps behind the map, each from file to file: selected, rendered. `pipeline` has those before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from curate.candidate import Candidate
from curate.drops import Dropped, Reason
from curate.files import jsonl
from curate.files.jsonl import Writer
from curate.pipeline import DroppedRecord
from curate.select import (
    Count,
    Figures,
    Rank,
    Selection,
    best,
    check,
    check_length,
    figures,
    in_share,
    rank,
)


def select(
    candidates: Path, wanted: Selection, count: Count, selected: Writer, dropped: Writer
) -> None:
    """Writes those that are kept, one for each question, and why the others are not.

    The file is read twice, so that memory holds a line of figures for each and no more.
    """
    verdicts = [_verdict(c, wanted, count) for c in jsonl.read(candidates, Candidate)]
    ranked = ((at, v[0], v[1]) for at, v in enumerate(verdicts) if not isinstance(v, Dropped))
    chosen = best(ranked)
    for at, candidate in enumerate(jsonl.read(candidates, Candidate)):
        verdict = verdicts[at]
        if isinstance(verdict, Dropped):
            dropped.write(DroppedRecord.of(candidate.trajectory, "select", verdict))
        elif chosen[verdict[0]] != at:
            why = Dropped(Reason.DUPLICATE, "only the most parallel one is kept")
            dropped.write(DroppedRecord.of(candidate.trajectory, "select", why))
        else:
            undivided = verdict[1][0] == 1
            selected.write(Candidate(candidate.packed, candidate.run, undivided))


def render(
    selected: Path, train: Writer, validation: Writer, share: float, *, sequential: bool = False
) -> None:
    """Writes the samples of what was selected; of its questions, a `share` is for validation.

    With `sequential`, those of the baseline: the same trajectories, left as they were written.
    """
    for candidate in jsonl.read(selected, Candidate):
        held_out = in_share(candidate.trajectory.question_key, share, "validation")
        sample = candidate.sequential_sample if sequential else candidate.sample
        (validation if held_out else train).write(sample)


def _verdict(candidate: Candidate, wanted: Selection, count: Count) -> tuple[str, Rank] | Dropped:
    """The question and the rank of a candidate that is kept where no other is better."""
    given = candidate.trajectory
    found = figures(candidate.transcript, count)
    try:
        check(found, wanted)
    except Dropped as why:
        # A run is divided as it is, and cannot be one plan.
        whole = candidate.packed is not None and why.reason is Reason.RATIO
        if not whole or not in_share(given.question_key, wanted.keep_sequential, "whole"):
            return why
        return _whole_verdict(candidate, found, wanted, count)
    return given.question_key, rank(found, wanted, True, given.key)


def _whole_verdict(
    candidate: Candidate, found: Figures, wanted: Selection, count: Count
) -> tuple[str, Rank] | Dropped:
    """The same of one that is kept undivided: how long that is counts, not what it was divided into."""
    given = candidate.trajectory
    try:
        check_length(figures(replace(candidate, undivided=True).transcript, count), wanted)
    except Dropped as why:
        return why
    return given.question_key, rank(found, wanted, False, given.key)
