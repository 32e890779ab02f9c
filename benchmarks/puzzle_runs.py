"""Runs of the Countdown benchmark: one run, the file that keeps runs, and summaries of many."""

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
"""The methods that run by default."""
QUARTERS = 4


@dataclass(frozen=True, slots=True)
class PuzzleRun:
    """One run of one method on one puzzle."""

    method: Method
    model: str
    """A digest of the weights, to tell models apart."""
    question: str
    error: str | None
    """Why the run failed, or None. A failed run has no answer."""
    answer: str | None
    sequential_tokens: int | None
    """For a failed run of RFT, whose chain outgrew its context, the context's length in tokens.

    None for any other failed run.
    """
    completion_tokens: int = 0
    """All generated tokens, sequential or not."""
    parallelization_ratio: float = 0.0
    stages: int = 0
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        """Whether the verifier accepts the answer."""
        return self.answer is not None and verify(self.answer, Puzzle.parse(self.question))


class KeptRuns:
    """Finished runs by method, model and question, kept in memory and, if there is a path, in a file.

    Each run is one complete line of JSON. Half a line that a killed benchmark has left is cut off.
    Files of older versions, which call `completion_tokens` `total_tokens`, can be read.

    Raises:
        SprintError: The file has other contents, or cannot be read or written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._runs: dict[tuple[Method, str, str], PuzzleRun] = {}
        if path is not None:
            with _one_line_errors(path), path.open("ab+") as file:
                file.seek(0)
                *lines, incomplete = file.read().split(b"\n")
                for number, line in enumerate(lines, 1):
                    self._read(path, number, line)
                if not incomplete.startswith(_LINE_START[: len(incomplete)]):
                    raise _not_a_run(path, len(lines) + 1)
                file.truncate(sum(len(line) + 1 for line in lines))

    def _read(self, path: Path, number: int, line: bytes) -> None:
        try:
            fields = json.loads(line)
            if isinstance(fields, dict) and "total_tokens" in fields:
                fields["completion_tokens"] = fields.pop("total_tokens")
            self._remember(PuzzleRun(**fields))
        except (ValueError, TypeError) as error:
            raise _not_a_run(path, number) from error

    def _remember(self, run: PuzzleRun) -> None:
        self._runs[run.method, run.model, run.question] = run

    def find(self, method: Method, model: str, question: str) -> PuzzleRun | None:
        """Returns the kept run, or None if there is none yet."""
        return self._runs.get((method, model, question))

    def add(self, run: PuzzleRun) -> None:
        """Keeps a run that has just ended."""
        self._remember(run)
        if self._path is not None:
            with _one_line_errors(self._path), self._path.open("a") as file:
                file.write(json.dumps(asdict(run)) + "\n")


_LINE_START = b'{"method": "'
"""The beginning of each line. It is checked so that no other kind of file is truncated."""


def _not_a_run(path: Path, line: int) -> SprintError:
    return SprintError(f"line {line} of {path} is not a run of this benchmark: name another file")


@contextmanager
def _one_line_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SprintError(f"cannot keep runs in {path}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class MethodSummary:
    """The results of one method on some puzzles.

    Failed runs count in `puzzles`, `errors` and `accuracy` only. An exception is RFT, whose failed runs
    outgrew their context: they count in `sequential_tokens` too.
    """

    puzzles: int
    errors: int
    accuracy: float
    sequential_tokens: float
    completion_tokens: float
    """All generated tokens of a run, mean."""
    ideal_speedup: float
    """All generated tokens / sequential tokens, of the runs without an error."""
    parallelization_ratio: float
    stages: float
    seconds_median: float
    seconds_p95: float


def summarize(runs: Sequence[PuzzleRun]) -> MethodSummary:
    """Summarizes runs of one method."""
    succeeded = [run for run in runs if run.error is None]
    seconds = sorted(run.seconds for run in succeeded)
    lengths = [run.sequential_tokens for run in runs if run.sequential_tokens is not None]
    sequential = sum(run.sequential_tokens or 0 for run in succeeded)
    generated = sum(run.completion_tokens for run in succeeded)
    count = max(1, len(succeeded))
    return MethodSummary(
        puzzles=len(runs),
        errors=len(runs) - len(succeeded),
        accuracy=sum(run.right for run in runs) / max(1, len(runs)),
        sequential_tokens=sum(lengths) / max(1, len(lengths)),
        completion_tokens=generated / count,
        ideal_speedup=generated / max(1, sequential),
        parallelization_ratio=sum(run.parallelization_ratio for run in succeeded) / count,
        stages=sum(run.stages for run in succeeded) / count,
        seconds_median=statistics.median(seconds) if seconds else 0.0,
        seconds_p95=seconds[int(0.95 * (len(seconds) - 1))] if seconds else 0.0,
    )


Summaries = dict[Method, MethodSummary]


def by_space(runs: Sequence[PuzzleRun], spaces: Sequence[str]) -> dict[str, Summaries]:
    """Summarizes runs by the puzzles' space. The puzzles must alternate between the spaces."""
    grouped: dict[str, list[PuzzleRun]] = {space: [] for space in spaces}
    methods = len({run.method for run in runs})
    for number, run in enumerate(runs):
        grouped[spaces[number // methods % len(spaces)]].append(run)
    return {space: by_method(group) for space, group in grouped.items()}


def by_method(runs: Sequence[PuzzleRun]) -> Summaries:
    """Summarizes runs by method, in the order in which the methods ran."""
    grouped: dict[Method, list[PuzzleRun]] = {}
    for run in runs:
        grouped.setdefault(run.method, []).append(run)
    return {method: summarize(group) for method, group in grouped.items()}


def by_quarter(runs: Sequence[PuzzleRun]) -> list[Summaries]:
    """Summarizes runs by quarter of the puzzles, ordered by RFT's tokens from few to many.

    A puzzle on which RFT failed counts as one of the longest. Returns an empty list if RFT did not run.
    """
    length = {
        run.question: (run.error is not None, run.sequential_tokens or 0)
        for run in runs
        if run.method == "rft"
    }
    order = sorted(length, key=lambda question: length[question])
    quarter = {question: rank * QUARTERS // len(order) for rank, question in enumerate(order)}
    return [
        by_method([run for run in runs if quarter[run.question] == number])
        for number in range(QUARTERS if order else 0)
    ]
