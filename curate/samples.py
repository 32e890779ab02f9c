"""Samples: what curation hands to training, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sprint_agent.transcript import Transcript, parse


@dataclass(frozen=True, slots=True)
class Sample:
    """A run's transcript, and whose contexts of it are learned: "planner", or an executor's number
    such as "1.3"."""

    transcript: Transcript
    learned: tuple[str, ...]


def write(samples: Iterable[Sample], path: Path) -> int:
    """Writes samples to `path`; returns how many. The file appears when it is whole."""
    partial = path.with_suffix(".partial")
    count = 0
    with partial.open("w", encoding="utf-8") as file:
        for sample in samples:
            text = sample.transcript.text
            file.write(json.dumps({"text": text, "learned": sample.learned}) + "\n")
            count += 1
    partial.replace(path)
    return count


def read(path: Path) -> Iterator[Sample]:
    """Reads samples back. Raises ValueError, with the line's number, for a corrupt one."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                value = json.loads(line)
                yield Sample(parse(value["text"]), tuple(value["learned"]))
            except (ValueError, KeyError, TypeError) as cause:
                raise ValueError(f"{path}, line {number}: not a sample ({cause})") from cause
