"""A training of a tiny model in this process, which the tests of the loop share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from train.config import Budget, Rates, Weights, deepspeed_base
from train.data.packing import PackedRow
from train.data.rows import PLAN, READ, Row
from train.data.trees import Branch, Tree
from train.loop import distributed
from train.loop.loop import Plan, Step, TrainingObserver, train
from train.loop.schedule import KINDS, Rows, Update, kind_weights, updates

LENGTH = 24
TREES = [
    Tree(
        Row(tuple(range(n, n + LENGTH)), (READ, *[PLAN] * (LENGTH - 1))),
        (Branch(9, Row(tuple(range(n + 1, n + LENGTH)), (READ, *[PLAN] * (LENGTH - 2)))),),
    )
    for n in range(1, 9)
]


def tiny_llama(layers: int = 2, **more: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=64,
        **more,
    )
    # As `from_pretrained` returns models.
    return LlamaForCausalLM(config).eval()


class Steps(TrainingObserver):
    """Keeps the steps of a training."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def on_step(self, step: Step, update: Update) -> None:
        self.steps.append(step)


def run(
    model: Any,
    folder: Path,
    *,
    count: int = 4,
    every: int = 2,
    held_out: Sequence[PackedRow] = (),
    **deepspeed: Any,
) -> list[Step]:
    """Trains for `count` updates of two rows, with a checkpoint after each `every` of them."""
    distributed.start()
    rows = Rows(TREES, 3 * len(TREES[0]), 0, 1, padded=False)
    budget = Budget(updates=count, rows_per_update=2)
    stream = updates(rows, budget, Rates(), kind_weights(Weights()), seed=0)
    adamw = {"type": "AdamW", "params": {"lr": 1e-3, "torch_adam": True}}
    plan = Plan(deepspeed_base(2, adamw, **deepspeed), folder, every, KINDS)
    steps = Steps()
    train(model, stream, held_out, plan, steps)
    return steps.steps
