"""Shards: the same input divided among machines that know nothing of each other."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_SHARD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class Shard:
    """The `number`-th of `count` shards, from 1. Raises ValueError where there is no such shard."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(
                f"there is no shard {self.number}/{self.count}: they go from 1 to the count"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Reads "2/8". Raises ValueError, in one line, where it is none."""
        found = _SHARD.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text[:20]!r} is no shard: one reads 2/8, the second of eight")
        return cls(int(found[1]), int(found[2]))


def in_shard(key: str, shard: Shard) -> bool:
    """Whether what has this key belongs to a shard: to exactly one of the `count`, on every machine.

    With a trajectory's `question_key`, all trajectories on one question fall into one shard.
    """
    digest = hashlib.sha256(b"shard\0" + key.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % shard.count == shard.number - 1
