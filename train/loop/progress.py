"""A fine-tuning on a terminal, and in a log: loss by role, speed, memory, the time that is left."""

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

from train.data.packing import Forest
from train.loop.distributed import Place
from train.loop.loop import Step, Update, Watcher
from train.model.flops import Costs, memory
from train.model.loss import Measured

_WINDOW = 20
"""How many updates the speed that is shown is the mean of."""


@dataclass
class Speed:
    """Ids a second of all processes, and the utilisation of this one's device, over the last updates."""

    costs: Costs
    peak: float | None
    _last: deque[tuple[float, int, float]] = field(default_factory=lambda: deque(maxlen=_WINDOW))

    def add(self, seconds: float, update: Update) -> None:
        """Counts an update."""
        operations = self.costs(cast("list[Forest]", update.rows))
        self._last.append((seconds, update.tokens, operations))

    @property
    def tokens(self) -> float:
        """Ids a second."""
        return sum(tokens for _, tokens, _ in self._last) / self._seconds

    @property
    def utilisation(self) -> float | None:
        """Model FLOP utilisation; None where the device's peak is not known."""
        if self.peak is None:
            return None
        return sum(operations for *_, operations in self._last) / self._seconds / self.peak

    @property
    def _seconds(self) -> float:
        return sum(seconds for seconds, *_ in self._last) or 1.0


class Screen(Watcher):
    """Shows a training on a terminal, and writes a line to `log` for each update and measurement.

    Lines that `log` holds of updates which are done again are cut off. `live` is the display to enter,
    where there is a terminal. `total` is the budget, in updates where `in_updates`, else in ids.
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

    def began(self, place: Place) -> None:
        self._log.seek(0)
        kept = 0
        while _update(self._log.readline()) <= place.updates:
            kept = self._log.tell()
        self._log.seek(kept)
        self._log.truncate()

    def stepped(self, step: Step, update: Update) -> None:
        self._speed.add(step.seconds, update)
        place, used = step.place, self._speed.utilisation
        done = place.updates if self._in_updates else place.tokens
        self._bar.update(self._task, completed=done)
        held = memory(self._device)
        self._write(
            {
                "update": place.updates,
                "tokens": place.tokens,
                "loss": step.losses,
                "gradient_norm": step.gradient_norm,
                "rate": update.rate,
                "tokens_per_second": self._speed.tokens,
                "utilisation": used,
                "memory_bytes": held,
            }
        )
        shown = f", {used:.0%} of the device's operations" if used is not None else ""
        self._lines = [
            f"update {place.updates:,}, {place.tokens:,} ids, {self._speed.tokens:,.0f} a second"
            f"{shown}, {held / 2**30:.1f} GiB",
            "loss: " + _named(step.losses),
            *([self._validation] if self._validation else []),
        ]

    def measured(self, place: Place, found: Measured) -> None:
        best = ", the best so far" if place.best == f"update-{place.updates}" else ""
        self._validation = (
            f"held out, at update {place.updates:,}: loss {found.loss:.4f}{best}, "
            f"{found.accuracy:.2%} right ({_named(found.by_role)})"
        )
        self._write(
            {
                "update": place.updates,
                "validation_loss": found.loss,
                "validation_accuracy": found.accuracy,
                "validation_loss_by_role": found.by_role,
            }
        )
        if not self.live:
            for line in (*self._lines[:2], self._validation):
                self._console.print(line, highlight=False, soft_wrap=True)

    def _write(self, record: Mapping[str, object]) -> None:
        self._log.write(json.dumps(record) + "\n")
        self._log.flush()


def _update(line: str) -> float:
    """The update that a line of the log is of; what is no whole line comes after all of them."""
    try:
        return json.loads(line)["update"] if line.endswith("\n") else inf
    except ValueError:
        return inf


def _named(losses: Mapping[str, float]) -> str:
    return ", ".join(f"{role} {loss:.4f}" for role, loss in losses.items())
