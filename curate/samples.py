"""Samples: what curation hands to training, one JSON object a line.

A transcript is kept in its parts, for its text does not say all: a plan that was cut off reads, once it
is joined, like one that the planner closed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sprint_agent.transcript import StageText, Transcript


@dataclass(frozen=True, slots=True)
class Sample:
    """A run's transcript, and what of it is learned: what the planner wrote, and executions.

    `executions` are the texts to be learned, by number, such as "1.3". An execution that was stopped
    stands so in the transcript, and what it would have written may be learned all the same.
    """

    transcript: Transcript
    planner: bool = True
    executions: dict[str, str] = field(default_factory=dict[str, str])


def write(samples: Iterable[Sample], path: Path) -> int:
    """Writes samples to `path`; returns how many. The file appears when it is whole."""
    partial = path.with_suffix(".partial")
    count = 0
    with partial.open("w", encoding="utf-8") as file:
        for sample in samples:
            file.write(json.dumps(asdict(sample)) + "\n")
            count += 1
    partial.replace(path)
    return count


def read(path: Path) -> Iterator[Sample]:
    """Reads samples back. Raises ValueError, with the line's number, for a corrupt one."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                value = json.loads(line)
                yield Sample(
                    _transcript(value["transcript"]), value["planner"], value["executions"]
                )
            except (ValueError, KeyError, TypeError) as cause:
                raise ValueError(f"{path}, line {number}: not a sample ({cause})") from cause


def _transcript(value: dict[str, Any]) -> Transcript:
    stages = (StageText(s["turn"], tuple(s["executions"])) for s in value["stages"])
    return Transcript(value["question"], tuple(stages), value["answer"])
