"""Countdown puzzles: their questions, their splits and their generation.

A puzzle asks for an expression whose value is the target and that uses every given number exactly
once, with + - * / and parentheses. Generated puzzles can be solved in non-negative whole numbers
(`reachable`). The verifier accepts more: any exact arithmetic.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Literal, Self

from sprint_agent.errors import QuestionError

Split = Literal["train", "validation", "test"]

MIN_NUMBERS = 3
MAX_NUMBERS = 6
MAX_VALUE = 10**6

_EXAMPLE = "write it like 'Use 3, 5, 7 and 11 to make 24.'"
_QUESTION = re.compile(
    r"use ([0-9]+(?: ?, ?[0-9]+)*) ?,? and ([0-9]+) to make ([0-9]+) ?\.?",
    re.IGNORECASE | re.ASCII,
)
_SPACE = re.compile(r"([0-9]+)(?::([0-9]+))?")
# After this many draws in a row without a new puzzle, a space counts as used up.
_MAX_FAILED_DRAWS = 100_000


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A Countdown puzzle.

    Raises:
        QuestionError: there are not three to six numbers, or a number or the target is outside 1 to
            1,000,000.
    """

    numbers: tuple[int, ...]
    """Three to six positive whole numbers, in the order of the question."""
    target: int

    def __post_init__(self) -> None:
        if not MIN_NUMBERS <= len(self.numbers) <= MAX_NUMBERS:
            raise QuestionError(
                f"a Countdown puzzle has {MIN_NUMBERS} to {MAX_NUMBERS} numbers, "
                f"but this one has {len(self.numbers)}: {_EXAMPLE}"
            )
        for value in (*self.numbers, self.target):
            _check_value(str(value), 1 <= value <= MAX_VALUE)

    @property
    def question(self) -> str:
        """The question for the agent: `Use 3, 5, 7 and 11 to make 24.`"""
        *first, last = self.numbers
        return f"Use {', '.join(map(str, first))} and {last} to make {self.target}."

    @property
    def key(self) -> tuple[tuple[int, ...], int]:
        """The sorted numbers and the target. Two puzzles with the same key are the same puzzle."""
        return tuple(sorted(self.numbers)), self.target

    @classmethod
    def parse(cls, question: str) -> Puzzle:
        """Reads a question.

        Upper and lower case, any white space between words and around commas, a comma before
        "and" and a missing full stop are tolerated, and nothing else.

        Raises:
            QuestionError: the text is not a Countdown question. The message has one line.
        """
        # Uniform white space keeps the pattern free of backtracking.
        text = " ".join(question.split())
        if not text:
            raise QuestionError(f"the question is empty: {_EXAMPLE}")
        match = _QUESTION.fullmatch(text)
        if match is None:
            shown = text if len(text) <= 80 else text[:80] + "…"
            raise QuestionError(f"{shown!r} is not a Countdown question: {_EXAMPLE}")
        first, last, target = match.groups()
        return cls((*map(_read, first.split(",")), _read(last)), _read(target))


def split(puzzle: Puzzle) -> Split:
    """Returns the split of a puzzle: 80 % are train, 10 % validation and 10 % test.

    The split depends only on the numbers (in any order) and the target. So a test puzzle is in no
    training set, whatever the size, the seed or the process of the set.
    """
    numbers, target = puzzle.key
    text = f"{','.join(map(str, numbers))}={target}"
    # blake2b and not hash(): it is the same in every process and on every machine.
    digest = hashlib.blake2b(text.encode("ascii"), digest_size=8).digest()
    bucket = int.from_bytes(digest, "big") % 10
    if bucket < 8:
        return "train"
    return "validation" if bucket == 8 else "test"


@dataclass(frozen=True, slots=True)
class PuzzleSpace:
    """The puzzles to draw from.

    Raises:
        ValueError: no such puzzle can exist.
    """

    count: int = 4
    """How many numbers a puzzle has. All ranges include both ends."""
    low: int = 1
    high: int = 13
    target_low: int = 1
    target_high: int = 100

    def __post_init__(self) -> None:
        if not MIN_NUMBERS <= self.count <= MAX_NUMBERS:
            raise ValueError(f"count must be {MIN_NUMBERS} to {MAX_NUMBERS}, not {self.count}")
        for name, low, high in (
            ("numbers", self.low, self.high),
            ("targets", self.target_low, self.target_high),
        ):
            if not 1 <= low <= high <= MAX_VALUE:
                raise ValueError(
                    f"{name} must be a range within 1..{MAX_VALUE}, lowest first, not {low}..{high}"
                )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a space such as "4" (four numbers from 1 to 13) or "4:99" (from 1 to 99).

        Raises:
            ValueError: the text has another form, or no such puzzle can exist.
        """
        match = _SPACE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not COUNT or COUNT:HIGHEST: write 4 or 4:99")
        count, high = match.groups(default="13")
        return cls(count=int(count), high=int(high))


def generate(space: PuzzleSpace, wanted: Split, seed: int) -> Iterator[Puzzle]:
    """Draws different puzzles of one split. The same seed gives the same puzzles.

    Numbers are drawn uniformly with repetition. Then the target is drawn uniformly from those that
    the numbers reach. The stream ends only when the space is used up, that is after 100,000 draws
    in a row without a new puzzle. Large streams reach this end: four numbers from 1 to 13 with
    targets up to 100 make 89,216 puzzles, of which 71,385 are in the train split.
    """
    rng = random.Random(seed)
    seen: set[tuple[tuple[int, ...], int]] = set()
    failed_draws = 0
    while failed_draws < _MAX_FAILED_DRAWS:
        failed_draws += 1
        numbers = tuple(rng.randint(space.low, space.high) for _ in range(space.count))
        targets = _targets(tuple(sorted(numbers)), space.target_low, space.target_high)
        if not targets:
            continue
        puzzle = Puzzle(numbers, rng.choice(targets))
        if puzzle.key in seen or split(puzzle) != wanted:
            continue
        seen.add(puzzle.key)
        failed_draws = 0
        yield puzzle


def reachable(numbers: tuple[int, ...], low: int, high: int) -> tuple[int, ...]:
    """Returns the whole numbers in low..high that the numbers can make, in ascending order.

    Every number is used once. Every intermediate result is a whole number of at least zero, and
    divisions have no remainder. Negative intermediate results would add nothing: along any
    expression over signed values, the absolute values follow from each other by +, ×, ÷ and the
    larger minus the smaller.
    """
    return _targets(tuple(sorted(numbers)), low, high)


@lru_cache(maxsize=8192)
def _targets(numbers: tuple[int, ...], low: int, high: int) -> tuple[int, ...]:
    return tuple(sorted({value for value in _results(numbers) if low <= value <= high}))


def _results(numbers: tuple[int, ...]) -> Iterator[int]:
    """Yields every value that all of the (ascending) numbers can make, with repetitions."""
    if len(numbers) == 1:
        yield numbers[0]
    for left, right in _halves(numbers):
        right_values = _values(right)
        for a in _values(left):
            for b in right_values:
                large, small = (a, b) if a >= b else (b, a)
                yield large + small
                yield large - small
                yield large * small
                if small and large % small == 0:
                    yield large // small


def _values(numbers: tuple[int, ...]) -> frozenset[int]:
    # Up to three numbers make about a hundred values, and the same ones recur often. More numbers
    # make thousands and hardly recur: caching those would cost memory without saving time.
    return _cached_values(numbers) if len(numbers) <= 3 else frozenset(_results(numbers))


@lru_cache(maxsize=8192)
def _cached_values(numbers: tuple[int, ...]) -> frozenset[int]:
    return frozenset(_results(numbers))


def _halves(numbers: tuple[int, ...]) -> set[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Returns all ways to divide the numbers into two non-empty groups, regardless of order."""
    positions = range(len(numbers))
    halves: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
    for size in range(1, len(numbers) // 2 + 1):
        for chosen in combinations(positions, size):
            left = tuple(numbers[i] for i in chosen)
            right = tuple(numbers[i] for i in positions if i not in chosen)
            halves.add((min(left, right), max(left, right)))
    return halves


def _read(digits: str) -> int:
    digits = digits.strip()
    # int() refuses thousands of digits with its own error, so the length is checked first.
    _check_value(digits, len(digits) <= len(str(MAX_VALUE)))
    return int(digits)


def _check_value(shown: str, valid: bool) -> None:
    if not valid:
        shown = shown if len(shown) <= 20 else shown[:20] + "…"
        raise QuestionError(f"{shown} is not a whole number from 1 to {MAX_VALUE}: {_EXAMPLE}")
