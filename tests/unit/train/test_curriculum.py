"""The Countdown curriculum: its courses, the weights of its decisions, and its optimizers."""

from __future__ import annotations

import pytest

pytest.importorskip("deepspeed")

import torch

from train.countdown import curriculum
from train.countdown.curriculum import Course, Schedule
from train.countdown.model import SHAPES, ModelShape, build
from train.data.rows import Row
from train.loop import distributed
from train.model.loss import WeightedLM

SHAPE = ModelShape(hidden=32, layers=2, heads=2, feed_forward=48)


def test_every_size_fits_into_16_megabytes() -> None:
    made = {size: build(shape, 1100, 0, seed=0) for size, shape in SHAPES.items()}
    sizes = [4 * sum(p.numel() for p in model.parameters()) for model in made.values()]
    assert list(made) == ["small", "medium", "large"]
    assert sizes == sorted(sizes)
    assert sizes[-1] < 16e6


def test_matrices_are_stepped_by_muon_and_the_rest_by_adamw() -> None:
    schedule = Schedule(tokens=100, matrix_rate=0.5, learning_rate=0.25)
    distributed.start()
    model = build(SHAPE, 300, 0, seed=0)
    wrapped = distributed.wrap(WeightedLM(model), curriculum.deepspeed_config(schedule))
    for group in wrapped.optimizer.param_groups:
        assert group["lr"] == (0.5 if group["use_muon"] else 0.25)
        inner = [p.ndim == 2 and p is not model.lm_head.weight for p in group["params"]]
        assert inner
        assert set(inner) == {group["use_muon"]}


def test_each_course_has_its_share_of_the_budget() -> None:
    schedule = Schedule(tokens=64 * 10, batch_tokens=64)
    first, second = (
        Course(start, [Row((token,) * 60, (5,) * 60)] * 3) for start, token in ((0.0, 1), (0.4, 2))
    )
    made = list(curriculum.batches_of([first, second], schedule))
    assert [course for course, _ in made] == [first] * 4 + [second] * 6
    assert [int(batch.ids[0, 0]) for _, batch in made] == [1] * 4 + [2] * 6


def test_decisions_weigh_by_phase() -> None:
    schedule = Schedule(tokens=100, decision_weights=((0.0, (2.0, 5.0)), (0.5, (30.0, 1.0))))
    weights = [schedule.weights(done).tolist() for done in (0, 49, 50, 100)]
    assert weights == [[0, 1, 1, 1, 1, 2, 5]] * 2 + [[0, 1, 1, 1, 1, 30, 1]] * 2


def test_a_course_knows_the_mean_weight_of_its_ids() -> None:
    course = Course(0.0, [Row((7,) * 4, (0, 1, 3, 5)), Row((7,) * 4, (0, 0, 0, 6))])
    weights = torch.tensor([0.0, 1.0, 1.0, 1.0, 1.0, 4.0, 10.0])
    assert course.weight(weights) == (1 + 1 + 4 + 10) / 8
