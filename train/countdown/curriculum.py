"""The curriculum of a Countdown model: which examples, in which order, what weighs how much, when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, cast

import torch

from train.config import Rates
from train.data.packing import Forest, forests
from train.data.padding import Batch, batches
from train.data.rows import ROLES, Row
from train.data.trees import Tree
from train.loop import distributed
from train.loop.loop import Update
from train.loop.schedule import rate


@dataclass(frozen=True, slots=True)
class Schedule:
    """The budget of a training and how the learning rates move over it.

    `tokens` is the whole budget, padding included; the rates rise over the first `warmup` share of it
    and then fall linearly to 0. `matrix_rate` is that of the matrices inside the model, which Muon
    steps, `learning_rate` that of embeddings and norms, which AdamW steps. `decision_weights` are the
    loss weights of decisions, one for each kind, with the share of the budget from which they hold;
    all other learned ids weigh 1.
    """

    tokens: int
    batch_tokens: int = 2048
    matrix_rate: float = 0.02
    learning_rate: float = 3e-3
    warmup: float = 0.02
    decision_weights: tuple[tuple[float, tuple[float, ...]], ...] = ((0.0, ()),)
    seed: int = 0

    def weights(self, done: int) -> torch.Tensor:
        """The loss weight of each kind of ids after `done` tokens of the budget."""
        share = done / self.tokens
        decisions = [weights for start, weights in self.decision_weights if start <= share][-1]
        return torch.tensor([0.0, *[1.0] * len(ROLES), *decisions])


Examples = Sequence[Row] | Sequence[Tree]


class Course:
    """What is trained on from the share `start` of the budget: rows, or trees, over and over."""

    def __init__(self, start: float, examples: Examples) -> None:
        self.start = start
        self.examples = examples
        parts = [row for example in examples for row in _parts(example)]
        self._ids = sum(len(row.ids) for row in parts)
        self._kinds = Counter(kind for row in parts for kind in row.kinds)

    def weight(self, weights: torch.Tensor) -> float:
        """The mean weight of an id of its rows, where each kind has the weight that `weights` holds."""
        total = sum(self._kinds[kind] * weight for kind, weight in enumerate(weights.tolist()))
        return total / self._ids


def deepspeed_config(schedule: Schedule) -> dict[str, Any]:
    """What DeepSpeed is told: ZeRO stage 0, bf16 by autocast over fp32 weights, Muon and AdamW."""
    muon = {
        "muon_lr": schedule.matrix_rate,
        "adam_lr": schedule.learning_rate,
        "momentum": 0.95,
        "betas": [0.9, 0.95],
        "weight_decay": 0.01,
        "torch_adam": True,
    }
    autocast = {"enabled": True, "dtype": "bfloat16"}
    return distributed.config(1, {"type": "Muon", "params": muon}, torch_autocast=autocast)


def updates(courses: Sequence[Course], schedule: Schedule, until: float = 1.0) -> Iterator[Update]:
    """The updates of the courses in their turn, until that share of the budget is used up.

    A batch is one update. Its losses are divided by what as many ids of its course weigh in the mean,
    so that an id has the same influence in whichever batch it is.
    """
    rates = Rates(warmup=schedule.warmup)
    done = 0
    for course, batch in batches_of(courses, schedule):
        if done >= until * schedule.tokens:
            return
        weights = schedule.weights(done)
        scale = course.weight(weights) * schedule.batch_tokens
        before, done = done, done + batch.tokens
        share = rate(rates, before / schedule.tokens, done / schedule.tokens)
        yield Update([batch], share, weights, scale, batch.tokens)


def batches_of(
    courses: Sequence[Course], schedule: Schedule
) -> Iterator[tuple[Course, Batch | Forest]]:
    """All batches of the budget, each with its course, whose examples come over and over."""
    done = 0
    for course, after in zip(courses, [*courses[1:], None], strict=True):
        end = schedule.tokens * (after.start if after else 1.0)
        for epoch in count():
            for batch in batched(course.examples, schedule.batch_tokens, schedule.seed + epoch):
                if done >= end:
                    break
                done += batch.tokens
                yield course, batch
            if done >= end:
                break


def batched(examples: Examples, tokens: int, seed: int) -> Iterator[Batch | Forest]:
    """All examples once, in batches of about `tokens` ids: padded rows, or forests of trees."""
    if any(isinstance(example, Tree) for example in examples):
        return forests(cast("Sequence[Tree]", examples), tokens, seed)
    return batches(cast("Sequence[Row]", examples), tokens, seed)


def _parts(example: Row | Tree) -> list[Row]:
    return [example] if isinstance(example, Row) else example.own
