"""Samples: what curation hands to training, one JSON object a line.

A transcript is kept in its parts, for its text does not say all: a plan that was cut off reads, once it
is joined, like one that the planner closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from curate.files import jsonl
from sprint_agent.protocol.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Sample:
    """A run's transcript, and what of it is learned: what the planner wrote, and executions.

    `executions` are the texts to be learned, by number, such as "1.3". An execution that was stopped
    stands so in the transcript, and what it would have written may be learned all the same. Without
    `planner`, the run is learned as far as these executions need it: what stands behind is left out.
    """

    transcript: Transcript
    planner: bool = True
    executions: dict[str, str] = field(default_factory=dict[str, str])


def write(samples: Iterable[Sample], path: Path) -> int:
    """Writes samples to `path`; returns how many. The file appears when it is whole."""
    return jsonl.write(samples, path)


def read(path: Path) -> Iterator[Sample]:
    """Reads samples back. Raises ValueError, with the line's number, for a corrupt one."""
    return jsonl.read(path, Sample)
