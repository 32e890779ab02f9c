"""Supervised fine-tuning: the loop, with DeepSpeed driving the steps.

What is trained on comes as `Update`s, one for each step of the optimizer, always the same ones in the
same order: a training that goes on from a checkpoint skips those that it has had.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import deepspeed
import torch
from torch import nn

from train.data.packing import Forest
from train.data.padding import Batch
from train.errors import OutOfMemory
from train.loop import distributed as engines
from train.loop.distributed import Checkpoints, Place
from train.model import compatibility
from train.model.loss import Measured, WeightedLM, by_role

Rows = Sequence[Batch | Forest]


@dataclass(frozen=True, slots=True)
class Update:
    """What one step of the optimizer takes: `rows`, this process's part of it, one after the other.

    `rate` is the share of their peaks that the learning rates have, `weights` the loss weights by
    kind. `scale` is what the weighted losses of all processes' rows are divided by, together, and
    `tokens` counts the ids of those rows.
    """

    rows: Rows
    rate: float
    weights: torch.Tensor
    scale: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Step:
    """A step that was done: the place after it, its mean loss by role, the norm of its gradient."""

    place: Place
    losses: dict[str, float]
    gradient_norm: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """How a training goes: what DeepSpeed is told, where checkpoints lie, and how often one is made.

    `chunks` is into how many parts logits are made (see `WeightedLM`), `kinds` how many kinds of ids
    there are. Every `every` updates, and behind the last, the held-out rows are measured and a
    checkpoint is kept. With `best`, the weights at the end are those that measured best.
    """

    deepspeed: dict[str, Any]
    checkpoints: Path
    every: int
    kinds: int
    chunks: int = 1
    best: bool = False


class Watcher:
    """Is told how a training goes; by default, it does not care."""

    def began(self, place: Place) -> None:
        """It begins, or goes on from this place."""

    def stepped(self, step: Step, update: Update) -> None:
        """An update was done."""

    def measured(self, place: Place, found: Measured) -> None:
        """Held-out examples were measured, and a checkpoint was kept."""


def train(
    model: nn.Module, updates: Iterator[Update], held_out: Rows, plan: Plan, watcher: Watcher
) -> tuple[Any, Place]:
    """Trains `model` in place by all `updates`; returns DeepSpeed's engine and where it ended.

    A training that finds a checkpoint goes on from it. `engines.start` must have been called.
    Raises OutOfMemory and CheckpointFailed, and TrainingError for a model that cannot be trained here.
    """
    wrapped = WeightedLM(model, plan.chunks)
    engine, *_ = deepspeed.initialize(
        model=wrapped,
        model_parameters=[p for p in wrapped.parameters() if p.requires_grad],
        config=plan.deepspeed,
    )
    peaks = [group["lr"] for group in engine.optimizer.param_groups]
    compatibility.logits(model, engine.device)
    checkpoints = Checkpoints(engine, plan.checkpoints)
    place = checkpoints.load()
    watcher.began(place)
    pending = _ahead(islice(updates, place.updates, None))
    for update, last in pending:
        for group, peak in zip(engine.optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * update.rate
        began = time.monotonic()
        seen = _step(engine, update)
        place = Place(place.updates + 1, place.tokens + update.tokens, place.best, place.best_loss)
        losses = by_role(*engines.add_up(seen))
        norm = float(engine.get_global_grad_norm() or 0.0)
        watcher.stepped(Step(place, losses, norm, time.monotonic() - began), update)
        if place.updates % plan.every == 0 or last:
            found = evaluate(engine, held_out, plan.kinds) if held_out else None
            place = checkpoints.save(place, found.loss if found and plan.best else None)
            if found:
                watcher.measured(place, found)
    checkpoints.load_best(place)
    return engine, place


def evaluate(engine: Any, held_out: Rows, kinds: int) -> Measured:
    """Loss and accuracy on held-out rows, all processes' together."""
    found = torch.zeros(3, kinds, device=engine.device)
    for row in held_out:
        found += engine.module.measure(row.to(engine.device), kinds)
    return Measured.of(engines.add_up(found))


def _step(engine: Any, update: Update) -> torch.Tensor:
    """One step of the optimizer; the sums and counts of losses by kind, of this process's rows."""
    weights = update.weights.to(engine.device)
    seen = torch.zeros(2, len(weights), device=engine.device)
    # DeepSpeed takes the mean over processes and over rows; the loss here is a share of a sum.
    scale = update.scale / (engines.world() * len(update.rows))
    for row in update.rows:
        try:
            loss, found = engine(row.to(engine.device), weights, scale)
            engine.backward(loss)
            engine.step()
        except RuntimeError as cause:
            if not _memory(cause):
                raise
            raise OutOfMemory(
                f"a row of {row.tokens:,} ids did not fit into memory: turn on gradient_checkpointing "
                f"and start again to go on; or shorten [data] row_tokens or raise DeepSpeed's ZeRO "
                f"stage, with another --out"
            ) from cause
        seen += found
    return seen


def _memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _ahead(updates: Iterator[Update]) -> Iterator[tuple[Update, bool]]:
    """Each update, and whether it is the last."""
    before: Update | None = None
    for update in updates:
        if before is not None:
            yield before, False
        before = update
    if before is not None:
        yield before, True
