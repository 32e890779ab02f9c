"""Samples: what curation passes to training, one JSON object a line.

A transcript is stored in parts, because its text alone is ambiguous: after it is joined, a plan that
was cut off reads like a plan that the planner closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from curate.files import jsonl
from sprint_agent.protocol.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Sample:
    """A run's transcript, and which parts of it are learned."""

    transcript: Transcript
    planner: bool = True
    """Whether the planner's text is learned.

    If not, only the part of the run that the executions need is used, and the rest is left out.
    """
    executions: dict[str, str] = field(default_factory=dict[str, str])
    """The execution texts to learn, by number, such as "1.3".

    If an execution was stopped, the transcript says so, but the text that it would have written can
    still be learned.
    """


def write(samples: Iterable[Sample], path: Path) -> int:
    """Writes samples to `path`, and returns how many. The file appears when it is complete."""
    return jsonl.write(samples, path)


def read(path: Path) -> Iterator[Sample]:
    """Reads samples back.

    Raises:
        ValueError: a line is corrupt. The message contains its number.
    """
    return jsonl.read(path, Sample)
