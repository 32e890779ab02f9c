"""What a training costs in floating-point operations and memory, and what a device can do."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from train.data.packing import PackedRow
from train.data.rows import READ

_PEAKS = {
    "GB200": 2500e12,
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A10": 125e12,
    "4090": 165e12,
    "3090": 71e12,
}
"""Dense bf16 operations per second, as the makers state. A longer name precedes its part."""


@dataclass(frozen=True, slots=True)
class FlopModel:
    """The operations of a training step, forward and backward.

    Each weight that an id passes costs two operations forward and four backward. The weights of the
    output layer count for learned ids only, because no other logits are computed. Operations that
    gradient checkpointing repeats do not count, as is usual for model FLOP utilization.
    """

    body: float
    """Operations per id, without the output layer."""
    head: float
    """Operations of the output layer per learned id."""
    pair: float
    """Operations per pair of ids that attend."""

    @classmethod
    def of(cls, model: PreTrainedModel) -> FlopModel:
        """Returns the costs of a model, read from its configuration and parameters."""
        config = model.config
        width = (
            getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        )
        table = config.vocab_size * config.hidden_size
        tables = 1 if config.tie_word_embeddings else 2
        body = _count_parameters(model) - tables * table
        layers = config.num_hidden_layers * config.num_attention_heads * width
        return cls(6.0 * body, 6.0 * table, 12.0 * layers)

    def __call__(self, rows: Iterable[PackedRow]) -> float:
        """Returns the operations of a training step over `rows`."""
        return sum(
            self.body * row.tokens
            + self.head * int((row.kinds != READ).sum())
            + self.pair * attended_pairs(row)
            for row in rows
        )


def attended_pairs(packed: PackedRow) -> int:
    """Returns how many pairs of ids attend, by causality and segments: the cost of attention."""
    return sum(
        (s.end - s.start) * s.seen + (s.end - s.start) * (s.end - s.start + 1) // 2
        for s in packed.segments
    )


def peak(device: torch.device) -> float | None:
    """Returns the peak operations per second of a device, or None if they are not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((value for part, value in _PEAKS.items() if part in name), None)


def peak_memory(device: torch.device) -> int:
    """Returns the most memory that was in use so far, in bytes.

    On a GPU it is the memory that torch allocated there, otherwise the memory of this process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return resident if sys.platform == "darwin" else resident * 1024


def _count_parameters(model: nn.Module) -> int:
    # A parameter that ZeRO 3 partitions is empty in each process and has its size in `ds_numel`.
    return sum(int(getattr(p, "ds_numel", p.numel())) for p in model.parameters())
