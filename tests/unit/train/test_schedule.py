"""Updates: how processes share them, how long they go on, and their learning rates."""

from __future__ import annotations

import pytest

pytest.importorskip("deepspeed")

import torch

from train.config import Budget, Rates, Weights
from train.countdown import curriculum
from train.countdown.curriculum import Course, Schedule
from train.data.rows import PLAN, READ, Row
from train.data.trees import Tree
from train.loop.schedule import Rows, kind_weights, rate, updates


def trees(count: int) -> list[Tree]:
    return [
        Tree(Row((k + 1,) * (k % 5 + 2), (READ, *[1 + j % 4 for j in range(k % 5 + 1)])))
        for k in range(count)
    ]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_share_the_rows_and_the_scale_of_an_update(world: int) -> None:
    given = trees(37)
    weights = kind_weights(Weights(plan=2.0, execution=0.5))
    budget = Budget(epochs=2, rows_per_update=4)
    every = [
        list(updates(Rows(given, 8, rank, world, padded=True), budget, Rates(), weights, seed=1))
        for rank in range(world)
    ]
    seen: dict[int, int] = {}
    for parts in zip(*every, strict=True):
        assert len({(part.scale, part.tokens, part.rate) for part in parts}) == 1
        rows = [row for part in parts for row in part.rows]
        assert [len(part.rows) for part in parts] == [4 // world] * world
        weight = sum(float(weights[row.kinds].sum()) for row in rows)
        assert weight == pytest.approx(parts[0].scale)
        for row in rows:
            for segment in row.segments:
                first = int(row.ids[0, segment.start])
                seen[first] = seen.get(first, 0) + 1
    assert {number: seen[number] for number in range(1, 38)} == dict.fromkeys(range(1, 38), 2)


@pytest.mark.parametrize(
    "budget",
    [
        Budget(tokens=300, rows_per_update=3),
        Budget(updates=9, rows_per_update=3),
        Budget(epochs=1.5, rows_per_update=3),
    ],
)
def test_a_budget_is_kept(budget: Budget) -> None:
    given = trees(50)
    weights = kind_weights(Weights())
    made = list(updates(Rows(given, 8, 0, 1, padded=False), budget, Rates(), weights, seed=0))
    tokens = [update.tokens for update in made]
    if budget.updates:
        assert len(made) == 9
    else:
        wanted = budget.tokens or 1.5 * sum(map(len, given))
        assert sum(tokens) >= wanted > sum(tokens[:-1])


def test_the_learning_rate_rises_and_then_falls_to_zero() -> None:
    ends = [done / 100 for done in range(1, 101)]
    rates = [rate(Rates(warmup=0.1), end - 0.01, end) for end in ends]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[-1] == pytest.approx(0.01 / 0.9)
    assert rate(Rates(warmup=0.1), 1.0, 1.1) == 0
    assert rate(Rates(warmup=0.1, decay="constant"), 0.9, 1.0) == 1.0


@pytest.mark.parametrize("number", [1, 2, 7])
@pytest.mark.parametrize("counted", ["updates", "tokens"])
def test_no_update_has_a_rate_of_zero(number: int, counted: str) -> None:
    trees = [Tree(Row((7,) * 10, (READ, *[PLAN] * 9)))] * 3
    budget = Budget(**{counted: number if counted == "updates" else 10 * number}, rows_per_update=1)
    weights = torch.tensor([0.0, 1.0])
    made = [*updates(Rows(trees, 10, 0, 1, False), budget, Rates(), weights, seed=0)]
    assert len(made) == number
    assert all(update.rate > 0 for update in made)
    schedule = Schedule(tokens=64 * number, batch_tokens=64)
    course = Course(0.0, [Row((7,) * 60, (READ, *[PLAN] * 59))] * 3)
    steps = [*curriculum.updates([course], schedule)]
    assert len(steps) == number
    assert all(update.rate > 0 for update in steps)
