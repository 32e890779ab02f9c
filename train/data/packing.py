"""Forests: trees one after the other in a single row, with what says who sees whom.

A forest holds no padding, unless it is asked for a fixed length. `packed` lays the trees of a whole
epoch into rows of at most so many ids; nothing attends from one tree to another.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from train.data.rows import READ, Row
from train.data.trees import Tree

POOL = 1024
"""How many trees are laid into rows together: more fit better, and are shuffled less."""


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


def packed(lengths: Sequence[int], capacity: int, seed: int) -> list[list[int]]:
    """Rows of at most `capacity` ids that hold all examples once, by number; equal seeds, equal rows.

    Within pools of `POOL`, in shuffled order, each goes into the fullest row that still holds it, the
    longest first; the rows of a pool come in any order. An example longer than a row stands alone.
    """
    rng = random.Random(seed)
    order = list(range(len(lengths)))
    rng.shuffle(order)
    rows: list[list[int]] = []
    for start in range(0, len(order), POOL):
        pool = _fitted(order[start : start + POOL], lengths, capacity)
        rng.shuffle(pool)
        rows += pool
    return rows


def _fitted(order: Sequence[int], lengths: Sequence[int], capacity: int) -> list[list[int]]:
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []
    for number in sorted(order, key=lambda n: -lengths[n]):
        at = bisect_left(free, (lengths[number], -1))
        if at < len(free):
            left, row = free.pop(at)
        else:
            left, row = capacity, len(rows)
            rows.append([])
        rows[row].append(number)
        insort(free, (left - lengths[number], row))
    return rows


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


def forest(trees: Sequence[Tree], length: int = 0) -> Forest:
    """Lays trees into one row, padded up to `length` with a segment that nothing is learned of."""
    ids: list[int] = []
    kinds: list[int] = []
    positions: list[int] = []
    segments: list[Segment] = []
    for each in (*trees, *_padding(length - sum(map(len, trees)))):
        root = len(ids)
        parts = [(0, each.trunk), *((branch.at, branch.row) for branch in each.branches)]
        for at, row in parts:
            start = len(ids)
            ids += row.ids
            # Nothing is predicted across a border: the id before the first one is not its context.
            kinds += (READ, *row.kinds[1:])[: len(row.ids)]
            positions += range(at, at + len(row.ids))
            segments.append(Segment(start, len(ids), root, at))
    rows = (torch.tensor([values]) for values in (ids, kinds, positions))
    return Forest(*rows, tuple(segments))


def _padding(length: int) -> list[Tree]:
    return [Tree(Row((0,) * length, (READ,) * length))] if length > 0 else []
