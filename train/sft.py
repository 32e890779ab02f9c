"""Supervised fine-tuning of a causal LM on rows, with DeepSpeed driving the steps."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, cast

import deepspeed
import torch
from torch import nn
from torch.nn import functional

from train import trees
from train.batches import Batch, batches
from train.rows import DECISION, READ, Row
from train.trees import Forest, Tree, forests

REPORT_EVERY = 1000


@dataclass(frozen=True, slots=True)
class Schedule:
    """The budget of a training and how the learning rates move over it.

    `tokens` is the whole budget, padding included; the rates rise over the first `warmup` share of it
    and then fall linearly to 0. `matrix_rate` is that of the matrices inside the model, which Muon
    steps, `learning_rate` that of embeddings and norms, which AdamW steps. `decision_weights` are the
    loss weights of decisions, one for each kind, with the share of the budget from which they hold;
    all other learned ids weigh 1.
    """

    tokens: int
    batch_tokens: int = 2048
    matrix_rate: float = 0.02
    learning_rate: float = 3e-3
    warmup: float = 0.02
    decision_weights: tuple[tuple[float, tuple[float, ...]], ...] = ((0.0, ()),)
    seed: int = 0


Examples = Sequence[Row] | Sequence[Tree]


class Course:
    """What is trained on from the share `start` of the budget: rows, or trees, over and over."""

    def __init__(self, start: float, examples: Examples) -> None:
        self.start = start
        self.examples = examples
        parts = [row for example in examples for row in _parts(example)]
        self._ids = sum(len(row.ids) for row in parts)
        self._kinds = Counter(kind for row in parts for kind in row.kinds)

    def weight(self, weights: torch.Tensor) -> float:
        """The mean weight of an id of its rows, where each kind has the weight that `weights` holds."""
        total = sum(self._kinds[kind] * weight for kind, weight in enumerate(weights.tolist()))
        return total / self._ids


class WeightedLM(nn.Module):
    """A causal LM whose forward pass is its loss: the sum over the learned ids, by kind weighted.

    The sum is divided by `scale`, which is the same for all batches, so that an id has the same
    influence in whichever it is.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch | Forest, weights: torch.Tensor, scale: float) -> torch.Tensor:
        logits, targets, learned = self.predict(batch)
        loss = functional.cross_entropy(logits, targets, reduction="none")
        return (loss * weights[learned]).sum() / scale

    def predict(self, batch: Batch | Forest) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits, targets and kinds of the learned ids, all rows in one."""
        if isinstance(batch, Forest):
            self.model.set_attn_implementation(trees.ATTENTION)
            more = {"position_ids": batch.positions, "segments": batch.segments}
        else:
            self.model.set_attn_implementation("sdpa")
            more = {}
        hidden = self.model.model(input_ids=batch.ids, **more).last_hidden_state[:, :-1]
        kinds = batch.kinds[:, 1:]
        learned = kinds != READ
        logits = self.model.lm_head(hidden[learned]).float()
        return logits, batch.ids[:, 1:][learned], kinds[learned]


@torch.no_grad()
def evaluate(model: WeightedLM, examples: Examples, batch_tokens: int) -> dict[str, float]:
    """Loss and accuracy over the learned ids of examples, and the accuracy of decisions alone."""
    totals = dict.fromkeys(("loss", "right", "count", "decisions_right", "decisions"), 0.0)
    for batch in _batched(examples, batch_tokens, seed=0):
        logits, targets, kinds = model.predict(batch)
        decisive = kinds >= DECISION
        right = logits.argmax(-1) == targets
        totals["loss"] += functional.cross_entropy(logits, targets, reduction="sum").item()
        totals["right"] += right.sum().item()
        totals["count"] += targets.numel()
        totals["decisions_right"] += (right & decisive).sum().item()
        totals["decisions"] += decisive.sum().item()
    return {
        "validation_loss": totals["loss"] / totals["count"],
        "accuracy": totals["right"] / totals["count"],
        "decisions": totals["decisions_right"] / max(1.0, totals["decisions"]),
    }


def deepspeed_config(schedule: Schedule) -> dict[str, Any]:
    """What DeepSpeed is told: ZeRO stage 0, bf16 by autocast over fp32 weights, Muon and AdamW."""
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 1.0,
        "zero_optimization": {"stage": 0},
        "torch_autocast": {"enabled": True, "dtype": "bfloat16"},
        "optimizer": {
            "type": "Muon",
            "params": {
                "muon_lr": schedule.matrix_rate,
                "adam_lr": schedule.learning_rate,
                "momentum": 0.95,
                "betas": [0.9, 0.95],
                "weight_decay": 0.01,
                "torch_adam": True,
            },
        },
        "steps_per_print": 10**9,
    }


def rate(schedule: Schedule, done: int) -> float:
    """The share of their peaks that the learning rates have after `done` tokens of the budget."""
    share = done / schedule.tokens
    rising = min(1.0, share / schedule.warmup) if schedule.warmup else 1.0
    return min(rising, max(0.0, 1.0 - share) / (1.0 - schedule.warmup))


def kind_weights(schedule: Schedule, done: int) -> torch.Tensor:
    """The loss weight of each kind of ids after `done` tokens of the budget."""
    share = done / schedule.tokens
    weights = [weights for start, weights in schedule.decision_weights if start <= share][-1]
    return torch.tensor([0.0, 1.0, *weights])


def start_deepspeed() -> None:
    """Starts DeepSpeed's process group; a process of its own where no launcher has set one up."""
    if "RANK" not in os.environ:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
        os.environ.update(alone, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    if not torch.cuda.is_available():
        # Its shared-memory op would be compiled at first use, for minutes, and one process needs none.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        # Nor is Muon faster compiled here, and a machine without a C++ compiler can train too.
        torch.compiler.set_stance("force_eager")
    deepspeed.init_distributed(dist_backend=None if torch.cuda.is_available() else "gloo")


def train(
    model: nn.Module,
    courses: Sequence[Course],
    validation: Examples,
    schedule: Schedule,
    folder: Path,
    report: Callable[[dict[str, float]], None],
    until: float = 1.0,
) -> None:
    """Trains `model` in place, on each course in its turn, until that share of the budget is used up.

    Every `REPORT_EVERY` steps `report` gets the progress, and a checkpoint goes to `folder`; a
    training that finds one there goes on from it.
    """
    start_deepspeed()
    wrapped = WeightedLM(model)
    engine, *_ = deepspeed.initialize(
        model=wrapped, model_parameters=wrapped.parameters(), config=deepspeed_config(schedule)
    )
    done = steps = 0
    if (folder / "latest").exists():
        _, state = engine.load_checkpoint(str(folder))
        done, steps = state["done"], state["steps"]
    began, began_at = time.monotonic(), done
    for course, batch in islice(batches_of(courses, schedule), steps, None):
        for group in engine.optimizer.param_groups:
            peak = schedule.matrix_rate if group["use_muon"] else schedule.learning_rate
            group["lr"] = peak * rate(schedule, done)
        weights = kind_weights(schedule, done)
        scale = course.weight(weights) * schedule.batch_tokens
        loss = engine(batch.to(engine.device), weights.to(engine.device), scale)
        engine.backward(loss)
        engine.step()
        done += batch.tokens
        steps += 1
        last = done >= until * schedule.tokens
        if steps % REPORT_EVERY == 0 or last:
            speed = (done - began_at) / (time.monotonic() - began)
            measured = evaluate(wrapped, validation, schedule.batch_tokens)
            engine.save_checkpoint(str(folder), client_state={"done": done, "steps": steps})
            report({"tokens": done, "tokens_per_second": speed, **measured})
        if last:
            break


def batches_of(
    courses: Sequence[Course], schedule: Schedule
) -> Iterator[tuple[Course, Batch | Forest]]:
    """All batches of the budget, each with its course, whose examples come over and over."""
    done = 0
    for course, after in zip(courses, [*courses[1:], None], strict=True):
        end = schedule.tokens * (after.start if after else 1.0)
        for epoch in count():
            for batch in _batched(course.examples, schedule.batch_tokens, schedule.seed + epoch):
                if done >= end:
                    break
                done += batch.tokens
                yield course, batch
            if done >= end:
                break


def _batched(examples: Examples, tokens: int, seed: int) -> Iterator[Batch | Forest]:
    if any(isinstance(example, Tree) for example in examples):
        return forests(cast("Sequence[Tree]", examples), tokens, seed)
    return batches(cast("Sequence[Row]", examples), tokens, seed)


def _parts(example: Row | Tree) -> list[Row]:
    if isinstance(example, Row):
        return [example]
    return [example.trunk, *(branch.row for branch in example.branches)]
