"""Runs of the Countdown benchmark: what one came to, where they are kept, and figures of many."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from sprint_agent.countdown import Puzzle, verify
from sprint_agent.errors import SprintError

Method = Literal["sprint", "sprint_unbounded", "sprint_wait", "rft"]
METHODS: tuple[Method, ...] = ("sprint", "sprint_wait", "rft")
"""Those that take the puzzles unless some are named."""
QUARTERS = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run of one method on one puzzle came to.

    `model` tells the weights apart that it ran on. A run that ended in an error has no answer, and
    says in `error` why; where it is one of RFT, which outgrew its context, the `sequential_tokens` are
    those that this holds, and else there are none.
    """

    method: Method
    model: str
    question: str
    error: str | None
    answer: str | None
    sequential_tokens: int | None
    total_tokens: int = 0
    parallelization_ratio: float = 0.0
    stages: int = 0
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        """Whether the verifier takes the answer."""
        return self.answer is not None and verify(self.answer, Puzzle.parse(self.question))


class Runs:
    """Runs that were made, by method, model and question; in a file, where there is one.

    Each is a line of JSON, whole or not there: what a killed benchmark left half of is cut off. Raises
    SprintError where the file holds something else, and where it cannot be read or written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._made: dict[tuple[Method, str, str], Measured] = {}
        if path is not None:
            with _told(path), path.open("ab+") as file:
                file.seek(0)
                *lines, torn = file.read().split(b"\n")
                for number, line in enumerate(lines, 1):
                    self._read(path, number, line)
                if not torn.startswith(_BEGINS[: len(torn)]):
                    raise _other(path, len(lines) + 1)
                file.truncate(sum(len(line) + 1 for line in lines))

    def _read(self, path: Path, number: int, line: bytes) -> None:
        try:
            self._hold(Measured(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise _other(path, number) from error

    def _hold(self, run: Measured) -> None:
        self._made[run.method, run.model, run.question] = run

    def find(self, method: Method, model: str, question: str) -> Measured | None:
        """The run that was made of this; None where it is still to be made."""
        return self._made.get((method, model, question))

    def add(self, run: Measured) -> None:
        """Holds a run that was just made."""
        self._hold(run)
        if self._path is not None:
            with _told(self._path), self._path.open("a") as file:
                file.write(json.dumps(asdict(run)) + "\n")


_BEGINS = b'{"method": "'
"""How the line of a run begins, so that no other file is cut."""


def _other(path: Path, line: int) -> SprintError:
    return SprintError(f"line {line} of {path} is no run of this benchmark: name another file")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SprintError(f"cannot keep runs in {path}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one method over some puzzles.

    Runs that ended in an error count in the accuracy alone, and where they are RFT's, which outgrew its
    context, in the sequential tokens too.
    """

    puzzles: int
    errors: int
    accuracy: float
    sequential_tokens: float
    total_tokens: float
    ideal_speedup: float
    parallelization_ratio: float
    stages: float
    seconds_median: float
    seconds_p95: float


def figures(runs: Sequence[Measured]) -> Figures:
    """The figures of some runs of one method."""
    ended = [run for run in runs if run.error is None]
    seconds = sorted(run.seconds for run in ended)
    taken = [run.sequential_tokens for run in runs if run.sequential_tokens is not None]
    sequential = sum(run.sequential_tokens or 0 for run in ended)
    total = sum(run.total_tokens for run in ended)
    count = max(1, len(ended))
    return Figures(
        puzzles=len(runs),
        errors=len(runs) - len(ended),
        accuracy=sum(run.right for run in runs) / max(1, len(runs)),
        sequential_tokens=sum(taken) / max(1, len(taken)),
        total_tokens=total / count,
        ideal_speedup=total / max(1, sequential),
        parallelization_ratio=sum(run.parallelization_ratio for run in ended) / count,
        stages=sum(run.stages for run in ended) / count,
        seconds_median=statistics.median(seconds) if seconds else 0.0,
        seconds_p95=seconds[int(0.95 * (len(seconds) - 1))] if seconds else 0.0,
    )


def by_space(runs: Sequence[Measured], spaces: Sequence[str]) -> dict[str, dict[Method, Figures]]:
    """The figures by the space of the puzzle, of runs on puzzles that were drawn from all in turn."""
    held: dict[str, list[Measured]] = {space: [] for space in spaces}
    methods = len({run.method for run in runs})
    for number, run in enumerate(runs):
        held[spaces[number // methods % len(spaces)]].append(run)
    return {space: by_method(found) for space, found in held.items()}


def by_method(runs: Sequence[Measured]) -> dict[Method, Figures]:
    """The figures of each method, in the order in which they ran."""
    methods = dict.fromkeys(run.method for run in runs)
    return {method: figures([r for r in runs if r.method == method]) for method in methods}


def by_quarter(runs: Sequence[Measured]) -> list[dict[Method, Figures]]:
    """The figures of each method by quarter of RFT's length, from the shortest to the longest.

    A puzzle on which RFT ended in an error counts among the longest. Without RFT there are none.
    """
    length = {
        run.question: (run.error is not None, run.sequential_tokens or 0)
        for run in runs
        if run.method == "rft"
    }
    order = sorted(length, key=lambda question: length[question])
    quarter = {question: place * QUARTERS // len(order) for place, question in enumerate(order)}
    return [
        by_method([run for run in runs if quarter[run.question] == number])
        for number in range(QUARTERS if order else 0)
    ]
