"""Updates: the rows of each step of the optimizer, for one process among several.

An epoch is all trees once, packed into rows; an update takes `rows_per_update` of them, and each process
its share. At the end of an epoch there may be fewer: then a process gets a row of padding alone, which
weighs nothing, since the losses of all processes are divided by what all their rows weigh together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import torch

from train.config import Budget, Rates, Weights
from train.data.packing import Forest, forest, packed
from train.data.rows import DECISION
from train.data.trees import Tree
from train.loop.loop import Update

KINDS = DECISION
"""How many kinds of ids there are here, where no decisions are told apart."""


def kind_weights(weights: Weights) -> torch.Tensor:
    """The loss weight of each kind of ids."""
    return torch.tensor([0.0, weights.plan, weights.prompt, weights.execution, weights.answer])


def rate(rates: Rates, before: float, behind: float) -> float:
    """The share of its peak that the learning rate has in an update.

    It goes from the share `before` of the budget to the share `behind`: it rises by the latter and falls
    by the former, so that neither the first update nor the last has none.
    """
    rising = min(1.0, behind / rates.warmup) if rates.warmup else 1.0
    if rates.decay == "constant":
        return rising
    return min(rising, max(0.0, 1.0 - before) / (1.0 - rates.warmup))


@dataclass(frozen=True, slots=True)
class Rows:
    """Trees as rows of at most `length` ids, for process `rank` of `world`; `padded` up to it or not."""

    trees: Sequence[Tree]
    length: int
    rank: int
    world: int
    padded: bool

    def epoch(self, seed: int) -> list[list[int]]:
        """All trees once, by number, in rows."""
        return packed([len(tree) for tree in self.trees], self.length, seed)

    def mine(self, rows: Sequence[Sequence[int]]) -> list[Forest]:
        """This process's rows among `rows`, equally many for each process; an empty one is padding."""
        missing = -len(rows) % self.world
        return [self._laid(row) for row in [*rows, *[[]] * missing][self.rank :: self.world]]

    def _laid(self, row: Sequence[int]) -> Forest:
        least = self.length if self.padded else 0 if row else 1
        return forest([self.trees[k] for k in row], least)


def updates(
    rows: Rows, budget: Budget, rates: Rates, weights: torch.Tensor, seed: int
) -> Iterator[Update]:
    """All updates of a budget, in order; equal seeds, equal updates."""
    sizes = [len(tree) for tree in rows.trees]
    weighs = [_weight(tree, weights) for tree in rows.trees]
    total = length(budget, sum(sizes))
    done = steps = 0
    for epoch in count():
        made = rows.epoch(seed + epoch)
        for start in range(0, len(made), budget.rows_per_update):
            group = made[start : start + budget.rows_per_update]
            numbers = [k for row in group for k in row]
            tokens = sum(sizes[k] for k in numbers)
            before = (steps if budget.updates else done) / total
            behind = (steps + 1 if budget.updates else done + tokens) / total
            if before >= 1.0:
                return
            scale = sum(weighs[k] for k in numbers) or 1.0
            filled = [*group, *[[]] * (budget.rows_per_update - len(group))]
            yield Update(rows.mine(filled), rate(rates, before, behind), weights, scale, tokens)
            done += tokens
            steps += 1


def length(budget: Budget, epoch_tokens: int) -> float:
    """The whole budget: in updates where it is given so, else in ids."""
    if budget.updates:
        return budget.updates
    return budget.tokens or (budget.epochs or 1) * epoch_tokens


def _weight(tree: Tree, weights: torch.Tensor) -> float:
    """What a tree's learned ids weigh; the first id of a part is never predicted."""
    kinds = Counter(kind for row in tree.own for kind in row.kinds[1:])
    return sum(weights[kind].item() * number for kind, number in kinds.items())
