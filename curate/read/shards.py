"""Shards: divides the same input among machines that do not communicate."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_SHARD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class Shard:
    """The `number`-th of `count` shards, from 1.

    Raises:
        ValueError: there is no such shard.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(
                f"there is no shard {self.number}/{self.count}: "
                f"the number must be from 1 to {self.count}"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Reads a shard such as "2/8".

        Raises:
            ValueError: the text is not a shard. The message is one line.
        """
        found = _SHARD.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text[:20]!r} is not a shard: write 2/8 for the second of eight")
        return cls(int(found[1]), int(found[2]))


def in_shard(key: str, shard: Shard) -> bool:
    """Returns whether a key belongs to a shard.

    Each key belongs to exactly one of the `count` shards, the same one on every machine. If the key is
    a trajectory's `question_key`, all trajectories on one question are in the same shard.
    """
    digest = hashlib.sha256(b"shard\0" + key.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % shard.count == shard.number - 1
