"""What a training asks of a machine: floating-point operations, and what the machine can do."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from train.data.packing import Forest
from train.data.rows import READ
from train.loop.distributed import parameters
from train.model.attention import work

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
"""Dense bf16 operations a second, as the makers state them; a longer name stands before its part."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What an id, and a pair of ids that attend, cost a model: forward and backward, in operations.

    Two operations for each weight that an id passes, twice as many again backward. Weights of the
    output layer count for learned ids alone, for no other logits are made; what checkpointing
    computes again does not count, as is usual for model FLOP utilisation.
    """

    body: float
    head: float
    pair: float

    @classmethod
    def of(cls, model: PreTrainedModel) -> Costs:
        """Reads them off a model."""
        config = model.config
        width = (
            getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        )
        table = config.vocab_size * config.hidden_size
        tables = 1 if config.tie_word_embeddings else 2
        body = parameters(model) - tables * table
        layers = config.num_hidden_layers * config.num_attention_heads * width
        return cls(6.0 * body, 6.0 * table, 12.0 * layers)

    def __call__(self, rows: Iterable[Forest]) -> float:
        """The operations of a training step over rows."""
        return sum(
            self.body * row.tokens
            + self.head * int((row.kinds != READ).sum())
            + self.pair * work(row)
            for row in rows
        )


def peak(device: torch.device) -> float | None:
    """The operations a second that a device is made for; None where that is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((value for part, value in _PEAKS.items() if part in name), None)


def memory(device: torch.device) -> int:
    """The most memory that was held so far, in bytes: the device's, or this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held * 1024
