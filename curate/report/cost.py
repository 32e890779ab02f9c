"""What the model that was asked has cost: `cost.json`, as its client leaves it behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens that a model read (`input`) and wrote (`output`)."""

    input: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """What annotation has cost.

    `requests` are those that were sent, `retries` those among them that were sent again, and `cached`
    the answers that were taken from the cache instead. `models` has the tokens by the model's name.
    `dollars` is None where no prices were given.
    """

    requests: int = 0
    cached: int = 0
    retries: int = 0
    models: dict[str, Tokens] = field(default_factory=dict)
    dollars: float | None = None


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
