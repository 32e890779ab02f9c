"""The training benchmark: generated runs with the paper's shapes, and each way to train on them."""

from __future__ import annotations

from dataclasses import replace
from statistics import mean

import pytest

pytest.importorskip("deepspeed")
pytest.importorskip("trl")

from benchmarks import training
from train.data.rows import EXECUTION, READ

TINY = replace(
    training.CPU,
    hidden=32,
    layers=1,
    feed_forward=48,
    vocabulary=64,
    thought=6,
    prompt=4,
    execution=8,
    row_tokens=400,
    updates=2,
    rounds=1,
    runs=60,
)


def test_runs_have_the_shapes_of_the_paper() -> None:
    runs = training.generate_runs(replace(TINY, runs=2000))
    prompts = [len(run.branches) for run in runs]
    # 4.5 stages with 1.7 prompts each.
    assert mean(prompts) == pytest.approx(4.5 * 1.7, rel=0.03)


@pytest.mark.parametrize("method", ["linear", "branched", "expanded"])
def test_every_layout_learns_the_executions(method: str) -> None:
    (run,) = training.generate_runs(replace(TINY, runs=1))
    rows = [row for tree in training.in_layout(run, method) for row in tree.own]
    learned = sum(kind != READ for row in rows for kind in row.kinds)
    executions = sum(kind == EXECUTION for row in rows for kind in row.kinds)
    own = sum(len(branch.row.ids) - 1 for branch in run.branches)
    # On the trunk, each execution's text is generated again: equally long on average, not each time.
    assert executions == own if method != "linear" else executions > 0
    assert learned > executions


@pytest.mark.slow
def test_every_method_trains() -> None:
    value = training.to_json(TINY, list(training.measure(TINY)))
    assert value["tokens_per_second"].keys() == {"linear", "trl", "branched", "expanded"}
    assert all(speed > 0 for speed in value["tokens_per_second"].values())
    assert value["ids_of_expanded_over_branched"] > 2


@pytest.mark.parametrize("rounds", [0, -1])
def test_no_rounds_are_refused(rounds: int) -> None:
    with pytest.raises(ValueError, match=f"--rounds must be at least 1, not {rounds}"):
        next(training.measure(replace(training.CPU, rounds=rounds)))
