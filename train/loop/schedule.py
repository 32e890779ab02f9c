"""Updates: what each step of the optimizer trains on, and its learning rate.

An epoch contains all trees once, packed into rows. An update takes `rows_per_update` of these rows,
and each process takes its share. At the end of an epoch fewer rows may be left. A process without a
row then gets a row of padding, which has no weight: the losses of all processes are divided by the
total weight of all their rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import torch

from train.config import Budget, Rates, Weights
from train.data.packing import PackedRow, assign_rows, pack_row
from train.data.rows import DECISION
from train.data.trees import Tree
from train.model.loss import MicroBatch

KINDS = DECISION
"""The number of kinds of ids in a fine-tuning, which has no decisions."""


@dataclass(frozen=True, slots=True)
class Update:
    """What one step of the optimizer trains on."""

    rows: Sequence[MicroBatch]
    """This process's part, which is computed one element at a time."""
    rate: float
    """The learning rates, as a share of their peaks."""
    weights: torch.Tensor
    """The loss weight of each kind of ids."""
    scale: float
    """The sum of the weighted losses, over the rows of all processes, is divided by this."""
    tokens: int
    """Ids in the rows of all processes."""


def kind_weights(weights: Weights) -> torch.Tensor:
    """Returns the loss weight of each kind of ids."""
    return torch.tensor([0.0, weights.plan, weights.prompt, weights.execution, weights.answer])


def rate(rates: Rates, before: float, after: float) -> float:
    """Returns the learning rate of an update, as a share of its peak.

    `before` and `after` are the shares of the budget that are used before and after the update. The
    rise uses `after` and the fall uses `before`, so neither the first nor the last update has a
    rate of 0.
    """
    rising = min(1.0, after / rates.warmup) if rates.warmup else 1.0
    if rates.decay == "constant":
        return rising
    return min(rising, max(0.0, 1.0 - before) / (1.0 - rates.warmup))


@dataclass(frozen=True, slots=True)
class Rows:
    """Trees that are packed into rows, for one process among several."""

    trees: Sequence[Tree]
    length: int
    """The most ids in a row."""
    rank: int
    """The number of this process, from 0."""
    world: int
    """The number of processes."""
    padded: bool
    """Whether each row is padded to `length`."""

    def epoch(self, seed: int) -> list[list[int]]:
        """Returns the numbers of the trees in each row of an epoch, which contains all trees once."""
        return assign_rows([len(tree) for tree in self.trees], self.length, seed)

    def for_this_rank(self, rows: Sequence[Sequence[int]]) -> list[PackedRow]:
        """Returns this process's share of `rows`, packed.

        Each process gets the same number of rows. If they cannot be divided evenly, the last
        processes get a row of padding.
        """
        missing = -len(rows) % self.world
        return [self._pack(row) for row in [*rows, *[[]] * missing][self.rank :: self.world]]

    def _pack(self, row: Sequence[int]) -> PackedRow:
        least = self.length if self.padded else 0 if row else 1
        return pack_row([self.trees[k] for k in row], least)


def updates(
    rows: Rows, budget: Budget, rates: Rates, weights: torch.Tensor, seed: int
) -> Iterator[Update]:
    """Yields all updates of a budget in order. Equal seeds give equal updates."""
    sizes = [len(tree) for tree in rows.trees]
    loss_weights = [_loss_weight(tree, weights) for tree in rows.trees]
    total = length(budget, sum(sizes))
    done = steps = 0
    for epoch in count():
        assigned = rows.epoch(seed + epoch)
        for start in range(0, len(assigned), budget.rows_per_update):
            group = assigned[start : start + budget.rows_per_update]
            numbers = [k for row in group for k in row]
            tokens = sum(sizes[k] for k in numbers)
            before = (steps if budget.updates else done) / total
            after = (steps + 1 if budget.updates else done + tokens) / total
            if before >= 1.0:
                return
            scale = sum(loss_weights[k] for k in numbers) or 1.0
            filled = [*group, *[[]] * (budget.rows_per_update - len(group))]
            yield Update(
                rows.for_this_rank(filled), rate(rates, before, after), weights, scale, tokens
            )
            done += tokens
            steps += 1


def length(budget: Budget, epoch_tokens: int) -> float:
    """Returns the whole budget, in updates if it is given in updates, otherwise in ids."""
    if budget.updates:
        return budget.updates
    return budget.tokens or (budget.epochs or 1) * epoch_tokens


def _loss_weight(tree: Tree, weights: torch.Tensor) -> float:
    """Returns the total loss weight of a tree's ids. The first id of a part is never predicted."""
    kinds = Counter(kind for row in tree.own for kind in row.kinds[1:])
    return sum(weights[kind].item() * number for kind, number in kinds.items())
