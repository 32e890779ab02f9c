"""Trees: the contexts of one run, with what they share held once.

A run's contexts are the planner's, and one for each executor, which is a prefix of the planner's up to
the end of its own prompt and then goes its own way. As rows (`rows.py`) the prefixes are read over and
over; here the planner's row is a trunk, and each executor a branch from where its prompt ends, with the
positions that it has there. A branch sees the trunk before it and itself, never its siblings, and not
the trunk behind, where the executions stand that the planner reads.

    trunk   <Question>…<Plan_1> <prompt_1.1>…</prompt_1.1> <prompt_1.2>…</prompt_1.2> … <Execution_1> …
    branch                                                └ <execution_1.1> …
    branch                                                                         └ <execution_1.2> …

`forest` lays trees one after the other in a single row without padding, and says with `Segment`s who
sees whom; `branched` is the attention that follows them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface

from curate.samples import Sample
from train.rows import READ, Row, RowBuilder

ATTENTION = "branched"
"""The name of the attention in a model's configuration."""


@dataclass(frozen=True, slots=True)
class Branch:
    """An executor's own ids, behind the first `at` ids of the trunk."""

    at: int
    row: Row


@dataclass(frozen=True, slots=True)
class Tree:
    """A planner's row and the branches of its executors."""

    trunk: Row
    branches: tuple[Branch, ...] = ()

    def __len__(self) -> int:
        return len(self.trunk.ids) + sum(len(branch.row.ids) for branch in self.branches)

    @property
    def longest(self) -> int:
        """The length of its longest context, in ids."""
        ends = (branch.at + len(branch.row.ids) for branch in self.branches)
        return max((len(self.trunk.ids), *ends))

    @property
    def rows(self) -> list[Row]:
        """The same contexts as rows of their own; what the trunk holds is learned there alone."""
        held = self.trunk.ids
        grown = (Row(held[: b.at] + b.row.ids, (READ,) * b.at + b.row.kinds) for b in self.branches)
        return [self.trunk, *grown]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a flat row, `start` to `end`, which sees the `seen` ids from `root` on, and itself.

    A trunk sees nothing before itself: its `seen` is 0.
    """

    start: int
    end: int
    root: int
    seen: int


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees in one flat row: ids, kinds and positions, of shape [1, all ids], and who sees whom."""

    ids: torch.Tensor
    kinds: torch.Tensor
    positions: torch.Tensor
    segments: tuple[Segment, ...]

    @property
    def tokens(self) -> int:
        """Ids in the row: what it costs."""
        return self.ids.numel()

    def to(self, device: torch.device) -> Forest:
        """The same on a device."""
        tensors = (self.ids, self.kinds, self.positions)
        return Forest(*(tensor.to(device) for tensor in tensors), self.segments)


class TreeBuilder(RowBuilder):
    """Builds the trees of samples, out of their rows."""

    def tree(self, sample: Sample) -> Tree:
        """The contexts of a sample's run, with a loss on what is learned of it."""
        planner = self.planner(sample.transcript)
        if not sample.planner:
            planner = Row(planner.ids, (READ,) * len(planner.ids))
        rows = (
            self.executor(sample.transcript, *map(int, name.split(".")), execution=text)
            for name, text in sample.executions.items()
        )
        return Tree(planner, tuple(_branch(planner, row) for row in rows))


def _branch(planner: Row, executor: Row) -> Branch:
    """Hangs an executor's row into its planner's, where the two part."""
    at = 0
    while executor.kinds[at] == READ and planner.ids[at : at + 1] == executor.ids[at : at + 1]:
        at += 1
    return Branch(at, Row(executor.ids[at:], executor.kinds[at:]))


def forests(trees: Sequence[Tree], tokens: int, seed: int) -> Iterator[Forest]:
    """All trees once, shuffled, in forests of at most `tokens` ids; a larger tree stands alone."""
    order = list(trees)
    random.Random(seed).shuffle(order)
    group: list[Tree] = []
    for each in order:
        if group and sum(map(len, group)) + len(each) > tokens:
            yield forest(group)
            group = []
        group.append(each)
    if group:
        yield forest(group)


def forest(trees: Sequence[Tree]) -> Forest:
    """Lays trees into one row."""
    ids: list[int] = []
    kinds: list[int] = []
    positions: list[int] = []
    segments: list[Segment] = []
    for each in trees:
        root = len(ids)
        parts = [(0, each.trunk), *((branch.at, branch.row) for branch in each.branches)]
        for at, row in parts:
            start = len(ids)
            ids += row.ids
            # Nothing is predicted across a border: the id before the first one is not its context.
            kinds += (READ, *row.kinds[1:])
            positions += range(at, at + len(row.ids))
            segments.append(Segment(start, len(ids), root, at))
    rows = (torch.tensor([values]) for values in (ids, kinds, positions))
    return Forest(*rows, tuple(segments))


def branched(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    segments: Sequence[Segment],
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention over a flat row of trees, in the signature that transformers gives to attentions.

    Shapes are [1, heads, ids, width], and [1, ids, heads, width] of what comes back. Each segment
    is one call over the ids that it sees, so nothing is computed for those that it does not.
    """
    grouped = {"scale": scaling, "dropout_p": dropout, "enable_gqa": True}
    parts: list[torch.Tensor] = []
    for s in segments:
        own = slice(s.start, s.end)
        if not s.seen:
            part = functional.scaled_dot_product_attention(
                query[:, :, own], key[:, :, own], value[:, :, own], is_causal=True, **grouped
            )
        else:
            keys, values = (_seen(whole, s) for whole in (key, value))
            part = functional.scaled_dot_product_attention(
                query[:, :, own], keys, values, attn_mask=_mask(s, query.device), **grouped
            )
        parts.append(part)
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _seen(whole: torch.Tensor, s: Segment) -> torch.Tensor:
    return torch.cat([whole[:, :, s.root : s.root + s.seen], whole[:, :, s.start : s.end]], dim=2)


def _mask(s: Segment, device: torch.device) -> torch.Tensor:
    """True where an id of the segment sees one of the trunk or of itself."""
    length = s.end - s.start
    return torch.ones(length, s.seen + length, dtype=torch.bool, device=device).tril(s.seen)


AttentionInterface.register(ATTENTION, branched)
