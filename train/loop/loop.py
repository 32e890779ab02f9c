"""The training loop of supervised fine-tuning, with DeepSpeed.

It trains on `Update`s, one for each step of the optimizer. They are always the same, in the same
order. A training that resumes from a checkpoint skips the updates that it has done.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from train.errors import Diverged, OutOfMemory
from train.loop import distributed
from train.loop.checkpoints import Checkpoints, TrainingState
from train.loop.distributed import DeepSpeedModel
from train.loop.schedule import Update
from train.model import compatibility
from train.model.loss import Measurement, MicroBatch, WeightedLM, mean_by_role


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the optimizer that was done."""

    state: TrainingState
    """The state after the step."""
    losses: dict[str, float]
    """The mean loss by role."""
    gradient_norm: float | None
    """Before it was clipped. None if [deepspeed] turns its computation off."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """How a training runs."""

    deepspeed: dict[str, Any]
    """DeepSpeed's configuration."""
    checkpoints: Path
    """The folder of the checkpoints."""
    every: int
    """Updates between two measurements of the held-out rows, each with a checkpoint. The last
    update is followed by one too."""
    kinds: int
    """The number of kinds of ids."""
    chunks: int = 1
    """In how many parts logits are computed; see `WeightedLM`."""
    best: bool = False
    """Whether the training ends with the weights of the lowest held-out loss, or the last ones."""


class TrainingObserver:
    """Callbacks of a training. By default they do nothing."""

    def on_start(self, state: TrainingState) -> None:
        """Is called when a training starts, or resumes from `state`."""

    def on_step(self, step: Step, update: Update) -> None:
        """Is called after each update."""

    def on_measurement(self, state: TrainingState, measurement: Measurement) -> None:
        """Is called after held-out examples were measured and a checkpoint was saved."""


def train(
    model: nn.Module,
    updates: Iterator[Update],
    held_out: Sequence[MicroBatch],
    plan: Plan,
    observer: TrainingObserver,
) -> tuple[DeepSpeedModel, TrainingState]:
    """Trains `model` in place on all `updates`, from the last checkpoint if there is one.

    `distributed.start` must have been called before. Returns the model as DeepSpeed wraps it, and
    the final state.

    Raises:
        OutOfMemory: a row does not fit into memory.
        CheckpointFailed: a checkpoint cannot be read or written.
        Diverged: a loss or a gradient is infinite or not a number. The last checkpoint is intact.
        TrainingError: the model is not supported.
    """
    wrapped = distributed.wrap(WeightedLM(model, plan.chunks), plan.deepspeed)
    # transformers loads models for inference, where gradient checkpointing does nothing.
    wrapped.module.train()
    peaks = [group["lr"] for group in wrapped.optimizer.param_groups]
    compatibility.check_logits(model, wrapped.device)
    checkpoints = Checkpoints(wrapped, plan.checkpoints)
    saved = state = checkpoints.load()
    observer.on_start(state)
    for update, last in _mark_last(islice(updates, state.updates, None)):
        for group, peak in zip(wrapped.optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * update.rate
        started = time.monotonic()
        sums, norm = _step(wrapped, update)
        state = replace(state, updates=state.updates + 1, tokens=state.tokens + update.tokens)
        losses = mean_by_role(*distributed.add_up(sums))
        named = {f"the loss of {role}": loss for role, loss in losses.items()}
        _check_finite({**named, "the norm of the gradient": norm}, state, saved)
        observer.on_step(Step(state, losses, norm, time.monotonic() - started), update)
        if state.updates % plan.every == 0 or last:
            measurement = evaluate(wrapped, held_out, plan.kinds) if held_out else None
            if measurement:
                _check_finite({"the validation loss": measurement.loss}, state, saved)
            loss = measurement.loss if measurement and plan.best else None
            saved = state = checkpoints.save(state, loss)
            if measurement:
                observer.on_measurement(state, measurement)
    checkpoints.load_best(state)
    return wrapped, state


def evaluate(wrapped: DeepSpeedModel, held_out: Sequence[MicroBatch], kinds: int) -> Measurement:
    """Returns loss and accuracy on the held-out rows of all processes together."""
    sums = torch.zeros(3, kinds, device=wrapped.device)
    wrapped.module.eval()
    for row in held_out:
        sums += wrapped.module.measure(row.to(wrapped.device), kinds)
    wrapped.module.train()
    return Measurement.from_sums(distributed.add_up(sums))


def _check_finite(
    values: Mapping[str, float | None], state: TrainingState, saved: TrainingState
) -> None:
    """Checks values of an update before a checkpoint can be made of it. `saved` is the last one.

    Raises:
        Diverged: a value is infinite or not a number.
    """
    for name, value in values.items():
        if value is not None and not math.isfinite(value):
            kept = (
                f"checkpoint update-{saved.updates} is intact"
                if saved.updates
                else "no checkpoint was written"
            )
            raise Diverged(
                f"{name} is {value} at update {state.updates}, so the training has diverged; {kept}: "
                f"lower [rates] peak, or raise warmup, and give another --out"
            )


def _step(wrapped: DeepSpeedModel, update: Update) -> tuple[torch.Tensor, float | None]:
    """Does one step of the optimizer.

    Returns the sums and counts of losses by kind, over this process's rows, and the norm of the
    gradient.
    """
    weights = update.weights.to(wrapped.device)
    sums = torch.zeros(2, len(weights), device=wrapped.device)
    # DeepSpeed takes the mean over processes and over rows, but the loss here is a share of a sum.
    scale = update.scale / (distributed.world() * len(update.rows))
    norm: float | None = None
    for number, row in enumerate(update.rows, 1):
        try:
            loss, of_row = wrapped(row.to(wrapped.device), weights, scale)
            wrapped.backward(loss)
            if number == len(update.rows):
                norm = distributed.norm_before_step(wrapped)
            wrapped.step()
        except RuntimeError as cause:
            if not _is_out_of_memory(cause):
                raise
            raise OutOfMemory(
                f"a row of {row.tokens:,} ids does not fit into memory: turn on gradient_checkpointing "
                f"and start again to resume; or give another --out and reduce [data] row_tokens or "
                f"raise DeepSpeed's ZeRO stage"
            ) from cause
        sums += of_row
    return sums, distributed.norm_after_step(wrapped) if norm is None else norm


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _mark_last(updates: Iterator[Update]) -> Iterator[tuple[Update, bool]]:
    """Yields each update, and whether it is the last."""
    previous: Update | None = None
    for update in updates:
        if previous is not None:
            yield previous, False
        previous = update
    if previous is not None:
        yield previous, True
