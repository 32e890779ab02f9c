"""The report: the numbers of what a curation kept and dropped, and drawings of ten trajectories."""

from __future__ import annotations

from pathlib import Path

from curate import select
from curate.candidate import Candidate
from curate.drops import DroppedRecord
from curate.files import jsonl
from curate.llm import cost
from curate.report import summary
from curate.report.examples import ExamplePicker, view
from curate.report.page import render

__all__ = ["write"]


def write(folder: Path, count: select.Count) -> Path:
    """Writes `report.html` into a folder that contains `selected.jsonl` and `dropped.jsonl`.

    The cost of the models is read from `cost.json` (a `CostReport`), if there is one. The page needs no
    other file, no network and no scripts. The same files make the same page, byte for byte. The memory
    holds a few numbers for each trajectory, and the trajectories that are drawn.

    Args:
        folder: the output folder of a curation.
        count: returns the number of tokens of a text.

    Returns:
        The path of the page.

    Raises:
        OSError: if a file is missing, or the page cannot be written.
        ValueError: if a file is corrupt.
    """
    kept, picker = summary.KeptSummary(), ExamplePicker()
    for candidate in jsonl.read(folder / "selected.jsonl", Candidate):
        metrics = select.measure(candidate.transcript, count)
        kept.add(candidate, metrics)
        picker.add(candidate, metrics)
    dropped = summary.count_dropped(jsonl.read(folder / "dropped.jsonl", DroppedRecord))
    page = render(
        kept,
        summary.losses(dropped, kept.count),
        cost.read_report(folder / "cost.json"),
        [view(number, example) for number, example in enumerate(picker.picked, 1)],
    )
    path = folder / "report.html"
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(page, encoding="utf-8", newline="\n")
    partial.replace(path)
    return path
