"""Padding: rows of similar length in one batch, so that little of a batch is padding."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from train.data.rows import Row


@dataclass(frozen=True, slots=True)
class Batch:
    """`ids` and `kinds`, both of the shape [rows, width]. The padding is on the right, of kind READ.

    Attention is causal, so no id sees the padding after it and no mask is needed. The width is a
    multiple of 64: kernels that are prepared for one batch can be used for many.
    """

    ids: torch.Tensor
    kinds: torch.Tensor

    @property
    def tokens(self) -> int:
        """The number of ids in the batch, padding included: what the batch costs."""
        return self.ids.numel()

    def to(self, device: torch.device) -> Batch:
        """Returns the same batch on `device`."""
        return Batch(self.ids.to(device), self.kinds.to(device))


def batches(rows: Sequence[Row], tokens: int, seed: int, *, pool: int = 4096) -> Iterator[Batch]:
    """Yields all rows once, shuffled, in batches of at most `tokens` ids.

    Equal seeds give equal batches. Rows are sorted by length within pools of `pool` rows, and the
    batches of a pool are shuffled. A row that is longer than `tokens` gets a batch for itself.
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
