"""The report: what a curation has kept and dropped, in figures, and ten trajectories drawn."""

from __future__ import annotations

from pathlib import Path

from curate import select
from curate.candidate import Candidate
from curate.drops import DroppedRecord
from curate.files import jsonl
from curate.llm import cost
from curate.report import figures
from curate.report.examples import Picks, view
from curate.report.page import render

__all__ = ["write"]


def write(folder: Path, count: select.Count) -> Path:
    """Writes `report.html` into a folder of `selected.jsonl` and `dropped.jsonl`; returns its path.

    `count` says how many tokens a text has. What a model has cost is read from `cost.json`, where there
    is one (a `CostReport`). The page needs nothing else: no network, no scripts. The same files make
    the same page, byte for byte. Memory holds a few numbers for each trajectory and those that are
    drawn. Raises OSError where a file is missing, ValueError where one is corrupt.
    """
    kept, picks = figures.Kept(), Picks()
    for candidate in jsonl.read(folder / "selected.jsonl", Candidate):
        found = select.measure(candidate.transcript, count)
        kept.add(candidate, found)
        picks.add(candidate, found)
    dropped = figures.count_dropped(jsonl.read(folder / "dropped.jsonl", DroppedRecord))
    page = render(
        kept,
        figures.losses(dropped, kept.count),
        cost.read_report(folder / "cost.json"),
        [view(number, example) for number, example in enumerate(picks.picked, 1)],
    )
    path = folder / "report.html"
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(page, encoding="utf-8", newline="\n")
    partial.replace(path)
    return path
