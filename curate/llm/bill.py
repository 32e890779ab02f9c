"""What the model that was asked has cost: `cost.json`, as its client leaves it behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec


@dataclass(frozen=True, slots=True)
class Answers:
    """A model's answers: how many, and the tokens that it read (`input`) and wrote (`output`)."""

    count: int = 0
    input: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """What annotation has cost: the answers by the model's name, whenever they were asked for.

    `dollars` is None where no prices were given.
    """

    models: dict[str, Answers] = field(default_factory=dict[str, Answers])
    dollars: float | None = None

    @property
    def answers(self) -> int:
        """The answers of all models."""
        return sum(model.count for model in self.models.values())


def read(path: Path) -> Cost | None:
    """The cost in a file; None where there is no such file. Raises ValueError for a corrupt one."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(data, type=Cost)
    except (msgspec.MsgspecError, UnicodeDecodeError) as cause:
        raise ValueError(f"{path}: not a cost ({cause})") from cause
