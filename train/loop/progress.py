"""Shows a fine-tuning on a terminal and in a log: loss by role, speed, memory, remaining time."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TextIO, cast

import torch
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from train.data.packing import PackedRow
from train.loop.checkpoints import TrainingState
from train.loop.loop import Step, TrainingObserver
from train.loop.schedule import Update
from train.model.flops import FlopModel, peak_memory
from train.model.loss import Measurement

_WINDOW = 20
"""The speed that is shown is a mean over the last updates, at most this many."""


@dataclass
class Speed:
    """The speed of all processes and the utilization of this one's device, over the last updates."""

    flops: FlopModel
    peak: float | None
    """The device's peak operations per second, or None if they are not known."""
    _last: deque[tuple[float, int, float]] = field(default_factory=lambda: deque(maxlen=_WINDOW))

    def add(self, seconds: float, update: Update) -> None:
        """Adds an update that took `seconds`."""
        operations = self.flops(cast("list[PackedRow]", update.rows))
        self._last.append((seconds, update.tokens, operations))

    @property
    def tokens(self) -> float:
        """Ids per second."""
        return sum(tokens for _, tokens, _ in self._last) / self._seconds

    @property
    def utilization(self) -> float | None:
        """Model FLOP utilization, from 0 to 1, or None if the device's peak is not known."""
        if self.peak is None:
            return None
        return sum(operations for *_, operations in self._last) / self._seconds / self.peak

    @property
    def _seconds(self) -> float:
        return sum(seconds for seconds, *_ in self._last) or 1.0


class Screen(TrainingObserver):
    """Shows a training on a terminal, and writes a line to `log` for each update and measurement.

    When a training resumes, the lines of updates that are done again are removed from `log`. `live`
    is the display that the caller must enter, or None if there is no terminal. `total` is the
    budget, in updates if `in_updates` is true, otherwise in ids.
    """

    def __init__(
        self, log: TextIO, speed: Speed, device: torch.device, total: float, *, in_updates: bool
    ) -> None:
        self._log = log
        self._speed = speed
        self._device = device
        self._in_updates = in_updates
        self._lines: list[str] = []
        self._validation = ""
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task("training", total=total)
        console = Console(stderr=True)
        self.live = Live(self, console=console) if console.is_terminal else None
        self._console = console

    def __rich__(self) -> RenderableType:
        return Group(self._bar, *(Text(line, style="dim") for line in self._lines))

    def on_start(self, state: TrainingState) -> None:
        self._log.seek(0)
        kept = 0
        while _update_of(self._log.readline()) <= state.updates:
            kept = self._log.tell()
        self._log.seek(kept)
        self._log.truncate()

    def on_step(self, step: Step, update: Update) -> None:
        self._speed.add(step.seconds, update)
        state, utilization = step.state, self._speed.utilization
        done = state.updates if self._in_updates else state.tokens
        self._bar.update(self._task, completed=done)
        memory = peak_memory(self._device)
        self._write(
            {
                "update": state.updates,
                "tokens": state.tokens,
                "loss": step.losses,
                "gradient_norm": step.gradient_norm,
                "rate": update.rate,
                "tokens_per_second": self._speed.tokens,
                "utilisation": utilization,
                "memory_bytes": memory,
            }
        )
        of_peak = f" ({utilization:.0%} of the device's peak)" if utilization is not None else ""
        self._lines = [
            f"update {state.updates:,}, {state.tokens:,} ids, {self._speed.tokens:,.0f} per second"
            f"{of_peak}, {memory / 2**30:.1f} GiB",
            "loss: " + _named(step.losses),
            *([self._validation] if self._validation else []),
        ]

    def on_measurement(self, state: TrainingState, measurement: Measurement) -> None:
        best = ", the best so far" if state.best == f"update-{state.updates}" else ""
        self._validation = (
            f"validation at update {state.updates:,}: loss {measurement.loss:.4f}{best}, "
            f"{measurement.accuracy:.2%} of ids right ({_named(measurement.by_role)})"
        )
        self._write(
            {
                "update": state.updates,
                "validation_loss": measurement.loss,
                "validation_accuracy": measurement.accuracy,
                "validation_loss_by_role": measurement.by_role,
            }
        )
        if not self.live:
            for line in (*self._lines[:2], self._validation):
                self._console.print(line, highlight=False, soft_wrap=True)

    def _write(self, record: Mapping[str, object]) -> None:
        self._log.write(json.dumps(record) + "\n")
        self._log.flush()


def _update_of(line: str) -> float:
    """Returns the update of a line of the log, or infinity for an incomplete or corrupt line."""
    try:
        return json.loads(line)["update"] if line.endswith("\n") else inf
    except ValueError:
        return inf


def _named(losses: Mapping[str, float]) -> str:
    return ", ".join(f"{role} {loss:.4f}" for role, loss in losses.items())
