"""The log and the speed of a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

import pytest

pytest.importorskip("deepspeed")

import torch

from train.data.packing import pack_row
from train.data.rows import PLAN, READ, Row
from train.data.trees import Tree
from train.loop.checkpoints import TrainingState
from train.loop.loop import Step
from train.loop.progress import Screen, Speed
from train.loop.schedule import Update
from train.model.flops import FlopModel
from train.model.loss import Measurement

ROW = pack_row([Tree(Row((1, 2, 3), (READ, PLAN, PLAN)))])
UPDATE = Update([ROW], 0.5, torch.ones(5), 2.0, 30)


def screen(log: TextIO, *, in_updates: bool = True) -> Screen:
    speed = Speed(FlopModel(1.0, 0.0, 0.0), None)
    return Screen(log, speed, torch.device("cpu"), 10, in_updates=in_updates)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_resumed_training_removes_the_lines_that_it_writes_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    written = [json.dumps({"update": number}) for number in (1, 2, 2, 3, 4)]
    path.write_text("\n".join(written) + '\n{"update": 5, "lo')
    with path.open("a+") as log:
        shown = screen(log)
        shown.on_start(TrainingState(updates=2, tokens=60))
        shown.on_step(Step(TrainingState(3, 90), {"plan": 1.5}, 0.1, 2.0), UPDATE)
    assert [line["update"] for line in lines(path)] == [1, 2, 2, 3]
    last = lines(path)[-1]
    assert (last["loss"], last["tokens_per_second"], last["rate"]) == ({"plan": 1.5}, 15.0, 0.5)


def test_a_measurement_is_logged_and_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.jsonl"
    with path.open("a+") as log:
        shown = screen(log)
        shown.on_step(Step(TrainingState(3, 90), {"plan": 1.5}, 0.1, 2.0), UPDATE)
        state = TrainingState(3, 90, "update-3", 1.25)
        shown.on_measurement(state, Measurement(1.25, 0.5, 0.0, {"plan": 1.25}))
    assert lines(path)[-1]["validation_loss"] == 1.25
    printed = capsys.readouterr().err
    assert "update 3, 90 ids, 15 per second" in printed
    assert "validation at update 3: loss 1.2500, the best so far, 50.00% of ids right" in printed


def test_the_speed_is_a_mean_over_the_last_updates() -> None:
    speed = Speed(FlopModel(1.0, 0.0, 0.0), peak=6.0)
    speed.add(1000.0, UPDATE)
    for _ in range(20):
        speed.add(2.0, UPDATE)
    assert speed.tokens == pytest.approx(15.0)
    # Three ids in two seconds, of six operations per second.
    assert speed.utilization == pytest.approx(0.25)
    assert Speed(FlopModel(1.0, 0.0, 0.0), peak=None).utilization is None
