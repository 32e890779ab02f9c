"""Batches: rows of similar length side by side, so that little of a batch is padding."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from train.data.rows import Row


@dataclass(frozen=True, slots=True)
class Batch:
    """`ids` and `kinds`, both of shape [rows, longest row]; padding stands right, as READ.

    With causal attention nothing sees the padding behind it, so no mask is needed. Widths are
    multiples of 64: kernels that were prepared for one batch serve many.
    """

    ids: torch.Tensor
    kinds: torch.Tensor

    @property
    def tokens(self) -> int:
        """Ids in the batch, padding included: what it costs."""
        return self.ids.numel()

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(self.ids.to(device), self.kinds.to(device))


def batches(rows: Sequence[Row], tokens: int, seed: int, *, pool: int = 4096) -> Iterator[Batch]:
    """All rows once, in batches of at most `tokens` ids, shuffled; equal seeds, equal batches.

    Rows are sorted by length within pools of `pool`, and the batches of a pool come in any order.
    """
    rng = random.Random(seed)
    order = list(range(len(rows)))
    rng.shuffle(order)
    for start in range(0, len(order), pool):
        chunk = sorted(order[start : start + pool], key=lambda k: len(rows[k].ids))
        groups: list[list[int]] = []
        for k in chunk:
            if not groups or (len(groups[-1]) + 1) * _width(len(rows[k].ids)) > tokens:
                groups.append([])
            groups[-1].append(k)
        rng.shuffle(groups)
        for group in groups:
            yield _collate([rows[k] for k in group])


def _width(length: int) -> int:
    return -(-length // 64) * 64


def _collate(rows: Sequence[Row]) -> Batch:
    longest = _width(max(len(row.ids) for row in rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    kinds = torch.zeros(len(rows), longest, dtype=torch.long)
    for k, row in enumerate(rows):
        ids[k, : len(row.ids)] = torch.tensor(row.ids)
        kinds[k, : len(row.ids)] = torch.tensor(row.kinds)
    return Batch(ids, kinds)
