"""Packing: several trees in one flat row, and which ids of the row see which.

A packed row contains no padding unless a fixed length is asked for. Nothing attends from one tree
to another. `assign_rows` divides the trees of an epoch among rows of limited length, and `pack_row`
builds one row.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from train.data.rows import READ
from train.data.trees import Tree

POOL = 1024
"""How many trees are assigned to rows together. With more, rows are fuller but less shuffled."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a flat row: a trunk, or a branch. All offsets are in ids of the row.

    Each of its ids sees the ids before it in the segment, and the `seen` ids from `root` on.
    """

    start: int
    end: int
    root: int
    """The start of the segment's tree."""
    seen: int
    """How many ids of its trunk the segment sees; 0 if the segment is a trunk."""


@dataclass(frozen=True, slots=True)
class PackedRow:
    """Trees in one flat row. Each tensor has the shape [1, ids]."""

    ids: torch.Tensor
    kinds: torch.Tensor
    positions: torch.Tensor
    """The position of each id in its own context."""
    segments: tuple[Segment, ...]

    @property
    def tokens(self) -> int:
        """The number of ids in the row, padding included: what the row costs."""
        return self.ids.numel()

    def to(self, device: torch.device) -> PackedRow:
        """Returns the same row on `device`."""
        ids, kinds, positions = (
            self.ids.to(device),
            self.kinds.to(device),
            self.positions.to(device),
        )
        return PackedRow(ids, kinds, positions, self.segments)


def assign_rows(lengths: Sequence[int], capacity: int, seed: int) -> list[list[int]]:
    """Assigns examples to rows of at most `capacity` ids; returns the example numbers of each row.

    Each example is in exactly one row. Equal seeds give equal rows. The examples are shuffled and
    divided into pools of `POOL`. Within a pool the longest examples come first, and each goes into
    the fullest row that has room for it. Then the rows of the pool are shuffled. An example that is
    longer than `capacity` gets a row for itself.
    """
    rng = random.Random(seed)
    order = list(range(len(lengths)))
    rng.shuffle(order)
    rows: list[list[int]] = []
    for start in range(0, len(order), POOL):
        pool = _assign_pool(order[start : start + POOL], lengths, capacity)
        rng.shuffle(pool)
        rows += pool
    return rows


def _assign_pool(order: Sequence[int], lengths: Sequence[int], capacity: int) -> list[list[int]]:
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []
    for number in sorted(order, key=lambda n: -lengths[n]):
        at = bisect_left(free, (lengths[number], -1))
        if at < len(free):
            room, row = free.pop(at)
        else:
            room, row = capacity, len(rows)
            rows.append([])
        rows[row].append(number)
        insort(free, (room - lengths[number], row))
    return rows


def pack_rows(trees: Sequence[Tree], tokens: int, seed: int) -> Iterator[PackedRow]:
    """Packs all trees once, shuffled, into rows of at most `tokens` ids.

    A tree that is larger than `tokens` gets a row for itself.
    """
    order = list(trees)
    random.Random(seed).shuffle(order)
    group: list[Tree] = []
    for tree in order:
        if group and sum(map(len, group)) + len(tree) > tokens:
            yield pack_row(group)
            group = []
        group.append(tree)
    if group:
        yield pack_row(group)


def pack_row(trees: Sequence[Tree], length: int = 0) -> PackedRow:
    """Packs trees into one row.

    A row that is shorter than `length` is padded to it with a segment of which nothing is learned.
    """
    ids: list[int] = []
    kinds: list[int] = []
    positions: list[int] = []
    segments: list[Segment] = []
    for tree in trees:
        root = len(ids)
        parts = [(0, tree.trunk), *((branch.at, branch.row) for branch in tree.branches)]
        for at, row in parts:
            start = len(ids)
            ids += row.ids
            # The first id of a segment is never predicted: the id before it is not its context.
            kinds += (READ, *row.kinds[1:])[: len(row.ids)]
            positions += range(at, at + len(row.ids))
            segments.append(Segment(start, len(ids), root, at))
    missing = length - len(ids)
    if missing > 0:
        segments.append(Segment(len(ids), length, len(ids), 0))
        ids += [0] * missing
        kinds += [READ] * missing
        # A rotary embedding may depend on the highest position in a row.
        positions += [0] * missing
    return PackedRow(
        torch.tensor([ids]), torch.tensor([kinds]), torch.tensor([positions]), tuple(segments)
    )
