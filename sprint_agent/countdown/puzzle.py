"""Countdown puzzles: how one is asked, which split it belongs to, and how they are generated.

A puzzle asks for an expression that uses every given number exactly once, with + - * / and
parentheses, and is worth the target. Generated puzzles are solvable in non-negative whole numbers
(`reachable`); the verifier is wider and takes any exact arithmetic.
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

_HOW_IT_READS = "a Countdown question reads 'Use 3, 5, 7 and 11 to make 24.'"
_QUESTION = re.compile(
    r"use ([0-9]+(?: ?, ?[0-9]+)*) ?,? and ([0-9]+) to make ([0-9]+) ?\.?",
    re.IGNORECASE | re.ASCII,
)
_SPACE = re.compile(r"([0-9]+)(?::([0-9]+))?")
# How many draws in a row may bring nothing new before a space counts as used up.
_DRAWS_IN_VAIN = 100_000


@dataclass(frozen=True, slots=True)
class Puzzle:
    """Three to six positive whole numbers, in the order in which they are asked, and a target.

    Raises QuestionError when the numbers or the target are outside 1 to 1,000,000.
    """

    numbers: tuple[int, ...]
    target: int

    def __post_init__(self) -> None:
        if not MIN_NUMBERS <= len(self.numbers) <= MAX_NUMBERS:
            raise QuestionError(
                f"a Countdown puzzle has {MIN_NUMBERS} to {MAX_NUMBERS} numbers, "
                f"this one has {len(self.numbers)}; {_HOW_IT_READS}"
            )
        for value in (*self.numbers, self.target):
            _check_value(str(value), 1 <= value <= MAX_VALUE)

    @property
    def question(self) -> str:
        """The question as it is put to the agent: `Use 3, 5, 7 and 11 to make 24.`"""
        *first, last = self.numbers
        return f"Use {', '.join(map(str, first))} and {last} to make {self.target}."

    @property
    def key(self) -> tuple[tuple[int, ...], int]:
        """What makes two puzzles the same one: the numbers in ascending order, and the target."""
        return tuple(sorted(self.numbers)), self.target

    @classmethod
    def parse(cls, question: str) -> Puzzle:
        """Read a question; raises QuestionError, in one line, when it is none.

        Upper and lower case, any white space between words and around commas, a comma before
        "and" and a missing full stop are tolerated, and nothing else.
        """
        # White space is made uniform first, which also keeps the pattern free of backtracking.
        text = " ".join(question.split())
        if not text:
            raise QuestionError(f"the question is empty; {_HOW_IT_READS}")
        match = _QUESTION.fullmatch(text)
        if match is None:
            shown = text if len(text) <= 80 else text[:80] + "…"
            raise QuestionError(f"{shown!r} is no Countdown question; {_HOW_IT_READS}")
        first, last, target = match.groups()
        return cls((*map(_read, first.split(",")), _read(last)), _read(target))


def split(puzzle: Puzzle) -> Split:
    """The split that the puzzle belongs to: 80 % train, 10 % validation, 10 % test.

    It depends on the numbers (in any order) and the target alone, so a test puzzle is in no
    training set, whatever its size, seed or process.
    """
    numbers, target = puzzle.key
    text = f"{','.join(map(str, numbers))}={target}"
    # Not hash(): blake2b is the same in every process and on every machine.
    digest = hashlib.blake2b(text.encode("ascii"), digest_size=8).digest()
    bucket = int.from_bytes(digest, "big") % 10
    if bucket < 8:
        return "train"
    return "validation" if bucket == 8 else "test"


@dataclass(frozen=True, slots=True)
class PuzzleSpace:
    """Which puzzles to draw: how many numbers, and the ranges of numbers and targets (inclusive).

    Raises ValueError when there can be no such puzzle.
    """

    count: int = 4
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
                raise ValueError(f"{name} must lie in 1..{MAX_VALUE}, low first: {low}..{high}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The space that "4" (numbers from 1 to 13) or "4:99" (from 1 to 99) stands for.

        Raises ValueError for any other text, and where there are no such puzzles.
        """
        found = _SPACE.fullmatch(text)
        if found is None:
            raise ValueError(f"numbers are COUNT or COUNT:HIGHEST, such as 4:99, not {text}")
        count, high = found.groups(default="13")
        return cls(count=int(count), high=int(high))


def generate(space: PuzzleSpace, wanted: Split, seed: int) -> Iterator[Puzzle]:
    """Draw puzzles of one split, endlessly, no two of them the same; equal seeds, equal puzzles.

    Numbers are drawn uniformly with repetition, then the target uniformly from those that they
    reach. The stream ends only when the space is used up: after 100,000 draws in a row without a
    new puzzle. Large streams meet that end: 4 numbers from 1 to 13 with targets up to 100 are
    89,216 puzzles, 71,385 of them in the train split.
    """
    rng = random.Random(seed)
    seen: set[tuple[tuple[int, ...], int]] = set()
    in_vain = 0
    while in_vain < _DRAWS_IN_VAIN:
        in_vain += 1
        numbers = tuple(rng.randint(space.low, space.high) for _ in range(space.count))
        targets = _targets(tuple(sorted(numbers)), space.target_low, space.target_high)
        if not targets:
            continue
        puzzle = Puzzle(numbers, rng.choice(targets))
        if puzzle.key in seen or split(puzzle) != wanted:
            continue
        seen.add(puzzle.key)
        in_vain = 0
        yield puzzle


def reachable(numbers: tuple[int, ...], low: int, high: int) -> tuple[int, ...]:
    """The whole numbers in low..high that can be made, ascending; every number is used once.

    Every intermediate result is a whole number, zero or more, and divisions come out whole.
    Negative intermediates would add nothing: along any expression over signed values the
    absolute values follow from each other by +, ×, ÷ and the larger minus the smaller.
    """
    return _targets(tuple(sorted(numbers)), low, high)


@lru_cache(maxsize=8192)
def _targets(numbers: tuple[int, ...], low: int, high: int) -> tuple[int, ...]:
    return tuple(sorted({value for value in _results(numbers) if low <= value <= high}))


def _results(numbers: tuple[int, ...]) -> Iterator[int]:
    """Every value that all of the (ascending) numbers can make, with repetitions."""
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
    # Up to three numbers make a hundred values or so and recur all the time; more numbers make
    # thousands and hardly recur, so keeping those would cost memory without saving time.
    return _kept_values(numbers) if len(numbers) <= 3 else frozenset(_results(numbers))


@lru_cache(maxsize=8192)
def _kept_values(numbers: tuple[int, ...]) -> frozenset[int]:
    return frozenset(_results(numbers))


def _halves(numbers: tuple[int, ...]) -> set[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Every way to part the numbers into two groups, neither empty, order aside."""
    places = range(len(numbers))
    halves: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
    for size in range(1, len(numbers) // 2 + 1):
        for chosen in combinations(places, size):
            left = tuple(numbers[i] for i in chosen)
            right = tuple(numbers[i] for i in places if i not in chosen)
            halves.add((min(left, right), max(left, right)))
    return halves


def _read(digits: str) -> int:
    digits = digits.strip()
    # int() refuses thousands of digits with an error of its own, so the length is checked first.
    _check_value(digits, len(digits) <= len(str(MAX_VALUE)))
    return int(digits)


def _check_value(shown: str, fits: bool) -> None:
    if not fits:
        shown = shown if len(shown) <= 20 else shown[:20] + "…"
        raise QuestionError(f"{shown} is not a whole number from 1 to {MAX_VALUE}; {_HOW_IT_READS}")
