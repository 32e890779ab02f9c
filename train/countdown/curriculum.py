"""The curriculum of a Countdown model: which examples come when, and with which loss weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, cast

import torch

from train.config import Rates, deepspeed_base
from train.data.packing import pack_rows
from train.data.padding import batches
from train.data.rows import ROLES, Row
from train.data.trees import Tree
from train.loop.schedule import Update, rate
from train.model.loss import MicroBatch


@dataclass(frozen=True, slots=True)
class Schedule:
    """The budget of a training, its learning rates, and its loss weights.

    The learning rates rise over the first `warmup` share of the budget and then fall linearly to 0.
    """

    tokens: int
    """The whole budget in ids, padding included."""
    batch_tokens: int = 2048
    """About how many ids a batch has."""
    matrix_rate: float = 0.02
    """The peak rate of the matrices inside the model, which Muon steps."""
    learning_rate: float = 3e-3
    """The peak rate of embeddings and norms, which AdamW steps."""
    warmup: float = 0.02
    decision_weights: tuple[tuple[float, tuple[float, ...]], ...] = ((0.0, ()),)
    """The loss weights of decisions, one for each kind, from a share of the budget on, as pairs of
    share and weights. All other learned ids have the weight 1."""
    seed: int = 0

    def weights(self, done: int) -> torch.Tensor:
        """Returns the loss weight of each kind of ids after `done` tokens of the budget."""
        share = done / self.tokens
        decisions = [weights for start, weights in self.decision_weights if start <= share][-1]
        return torch.tensor([0.0, *[1.0] * len(ROLES), *decisions])


Examples = Sequence[Row] | Sequence[Tree]


class Course:
    """Rows or trees that are trained on repeatedly, from the share `start` of the budget on."""

    def __init__(self, start: float, examples: Examples) -> None:
        self.start = start
        self.examples = examples
        parts = [row for example in examples for row in _parts(example)]
        self._ids = sum(len(row.ids) for row in parts)
        self._kinds = Counter(kind for row in parts for kind in row.kinds)

    def weight(self, weights: torch.Tensor) -> float:
        """Returns the mean weight of an id of the examples, from the weight of each kind."""
        total = sum(self._kinds[kind] * weight for kind, weight in enumerate(weights.tolist()))
        return total / self._ids


def deepspeed_config(schedule: Schedule) -> dict[str, Any]:
    """Returns DeepSpeed's configuration: ZeRO 0, bf16 autocast over fp32 weights, Muon and AdamW."""
    muon = {
        "muon_lr": schedule.matrix_rate,
        "adam_lr": schedule.learning_rate,
        "momentum": 0.95,
        "betas": [0.9, 0.95],
        "weight_decay": 0.01,
        "torch_adam": True,
    }
    autocast = {"enabled": True, "dtype": "bfloat16"}
    return deepspeed_base(1, {"type": "Muon", "params": muon}, torch_autocast=autocast)


def updates(courses: Sequence[Course], schedule: Schedule, until: float = 1.0) -> Iterator[Update]:
    """Yields the updates of the courses in order, until the share `until` of the budget is used.

    A batch is one update. Its losses are divided by the mean weight of `batch_tokens` ids of its
    course, so that an id has the same influence in every batch.
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
) -> Iterator[tuple[Course, MicroBatch]]:
    """Yields all batches of the budget, each with its course. Examples are repeated as needed."""
    done = 0
    for course, following in zip(courses, [*courses[1:], None], strict=True):
        end = schedule.tokens * (following.start if following else 1.0)
        for epoch in count():
            for batch in batched(course.examples, schedule.batch_tokens, schedule.seed + epoch):
                if done >= end:
                    break
                done += batch.tokens
                yield course, batch
            if done >= end:
                break


def batched(examples: Examples, tokens: int, seed: int) -> Iterator[MicroBatch]:
    """Yields all examples once, in batches of about `tokens` ids: padded rows, or packed trees."""
    if any(isinstance(example, Tree) for example in examples):
        return pack_rows(cast("Sequence[Tree]", examples), tokens, seed)
    return batches(cast("Sequence[Row]", examples), tokens, seed)


def _parts(example: Row | Tree) -> list[Row]:
    return [example] if isinstance(example, Row) else example.own
