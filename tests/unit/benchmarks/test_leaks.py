"""The measurement of the leak check, and bounds on what it finds and what it flags wrongly."""

from __future__ import annotations

import json

import pytest

from benchmarks import __main__ as commands
from benchmarks.leaks import measure
from benchmarks.reasoning_text import KINDS, Document, documents
from curate.trajectory import Annotated, Component, Trajectory


def test_what_the_check_is_worth_on_generated_text() -> None:
    """These are bounds, so that the check does not get worse unnoticed. docs/curation.md has figures."""
    report = measure(documents(60, seed=1))
    assert report.recall > 0.6
    assert report.false_alarms < 0.05
    shares = {kind: report.found.get(kind, 0) / report.removed[kind] for kind in KINDS}
    weak = {kind for kind, share in shares.items() if share < 0.5}
    assert weak == {"words"}
    assert set(report.removed) == set(KINDS)


def test_a_dependency_that_changes_no_stage_is_not_counted() -> None:
    work = "Then 7 * 30 = 210. Two. Three."
    components = (
        Component(1, prompt="a", execution=work),
        Component(2, prompt="b", execution="Use 210.", parents=frozenset({1})),
        Component(3, prompt="c", execution="Use 210.", parents=frozenset({1, 2})),
    )
    given = Document(
        Annotated(Trajectory("What?", "", "7"), components), {(2, 1): "number", (3, 1): "number"}
    )
    report = measure([given])
    # Without its need of 1, component 3 still comes after 2, which comes after 1.
    assert (report.removed, report.found) == ({"number": 1}, {"number": 1})
    assert (report.recall, report.false_alarms) == (1.0, 0.0)


def test_the_results_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    commands.leaks(documents=3)
    assert "documents flagged wrongly" in capsys.readouterr().out
    commands.leaks(documents=3, json=True)
    assert json.loads(capsys.readouterr().out)["documents"] == 3
