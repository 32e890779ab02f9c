"""Samples: what curation hands to training, one JSON object a line.

A transcript is kept in its parts, for its text does not say all: a plan that was cut off reads, once it
is joined, like one that the planner closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from curate import records
from sprint_agent.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Sample:
    """A run's transcript, and whose contexts of it are learned: "planner", or an executor's number
    such as "1.3"."""

    transcript: Transcript
    learned: tuple[str, ...]


def write(samples: Iterable[Sample], path: Path) -> int:
    """Writes samples to `path`; returns how many. The file appears when it is whole."""
    return records.write(samples, path)


def read(path: Path) -> Iterator[Sample]:
    """Reads samples back. Raises ValueError, with the line's number, for a corrupt one."""
    return records.read(path, Sample)
