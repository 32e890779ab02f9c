"""A searcher that solves Countdown puzzles and writes its chain of thought down, in sequence.

It does what a reasoning model does on such a puzzle: it tries an opening (two of the numbers and an
operation), works through what the remaining numbers can make of it, gives up or finds the target,
and goes back to the next opening. Sums and differences come first; only when none of them leads to
the target does it go on to products and quotients. It ends at the first hit.

    Sums and differences first.
    3 + 5 = 8, leaving 7, 11, 8.
    7 + 11 = 18, and 8: + 26 high, - 10 low, * 144 high.
    …
    None.
    3 + 7 = 10, leaving 5, 11, 10.
    …
    11 - 5 = 6, and 4: + 10 low, - 2 low, * 24 yes.
    Answer: (11 - 5) * (7 - 3)

The first line of an attempt is its opening; the second says that 18 and 8 are left, which make 26, 10
and 144. Each result is held against the target, aloud: that is what a model learns to tell a hit by.

Only positive whole numbers up to `CAP` are followed (of 3,000 puzzles with four numbers from 1 to 13
and targets up to 100, 99.97 % stay solvable so).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from sprint_agent.countdown import Puzzle

CAP = 200
GROUPS = (("Sums and differences first.\n", "+-"), ("Now products and quotients.\n", "*/"))


@dataclass(frozen=True, slots=True)
class Term:
    """A value on the table, and the expression over the puzzle's own numbers that makes it."""

    value: int
    text: str
    compound: bool = False

    @property
    def inner(self) -> str:
        """The expression as it stands inside a larger one."""
        return f"({self.text})" if self.compound else self.text


@dataclass(frozen=True, slots=True)
class Opening:
    """The first operation of an attempt (`3 + 5`), and the terms that it leaves, its result last."""

    task: str
    remaining: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """What became of an opening: the text of the work on it, and the expression if it hit."""

    text: str
    expression: str | None

    @property
    def conclusion(self) -> str:
        """The last line, as the chain of thought has it."""
        return "None.\n" if self.expression is None else f"Answer: {self.expression}\n"


def openings(puzzle: Puzzle) -> list[list[Opening]]:
    """The openings of a puzzle, by group, in the order in which they are tried."""
    terms = [Term(n, str(n)) for n in puzzle.numbers]
    steps = list(_steps(terms))
    return [[_opening(step) for step in steps if step[1] in operations] for _, operations in GROUPS]


def _opening(step: _Step) -> Opening:
    first, operation, second, result, rest = step
    return Opening(f"{first.value} {operation} {second.value}", (*rest, result))


def search(remaining: Sequence[Term], target: int) -> Search:
    """Works through the two or three terms that an opening leaves, to the end or to the first hit."""
    left = ", ".join(str(term.value) for term in remaining)
    text = f"= {remaining[-1].value}, leaving {left}.\n"
    for head, pair in _nodes(remaining):
        line, hit = _leaves(head, pair, target)
        text += line
        if hit is not None:
            return Search(text, hit.text)
    return Search(text, None)


def _nodes(terms: Sequence[Term]) -> Iterator[tuple[str, tuple[Term, Term]]]:
    if len(terms) == 2:
        yield f"{terms[0].value} and {terms[1].value}:", (terms[0], terms[1])
        return
    for first, operation, second, result, (rest,) in _steps(terms):
        head = f"{first.value} {operation} {second.value} = {result.value}, and {rest.value}:"
        yield head, (result, rest)


def _leaves(head: str, pair: tuple[Term, Term], target: int) -> tuple[str, Term | None]:
    parts: list[str] = []
    for _, operation, _, result in _combine(*pair):
        if result.value == target:
            parts.append(f" {operation} {result.value} yes")
            return f"{head}{','.join(parts)}.\n", result
        parts.append(f" {operation} {result.value} {'high' if result.value > target else 'low'}")
    return f"{head}{','.join(parts)}.\n", None


_Step = tuple[Term, str, Term, Term, tuple[Term, ...]]


def _steps(terms: Sequence[Term]) -> Iterator[_Step]:
    """Every operation on two of the terms, with what remains; none twice that reads the same."""
    seen: set[tuple[int, str, int]] = set()
    for i, j in combinations(range(len(terms)), 2):
        rest = tuple(term for k, term in enumerate(terms) if k not in (i, j))
        for first, operation, second, result in _combine(terms[i], terms[j]):
            key = (first.value, operation, second.value)
            if key not in seen:
                seen.add(key)
                yield first, operation, second, result, rest


def _combine(a: Term, b: Term) -> Iterator[tuple[Term, str, Term, Term]]:
    """What two terms make, the larger first where order matters; useless results are left out."""
    large, small = (a, b) if a.value >= b.value else (b, a)
    candidates = [
        (a, "+", b, a.value + b.value),
        (large, "-", small, large.value - small.value),
        (a, "*", b, a.value * b.value),
    ]
    if small.value > 1 and large.value % small.value == 0:
        candidates.append((large, "/", small, large.value // small.value))
    for first, operation, second, value in candidates:
        if 0 < value <= CAP:
            text = f"{first.inner} {operation} {second.inner}"
            yield first, operation, second, Term(value, text, compound=True)


def write(puzzle: Puzzle) -> tuple[str, str] | None:
    """The chain of thought on `puzzle` and its answer; None where no hit lies within `CAP`."""
    text = ""
    for (announcement, _), group in zip(GROUPS, openings(puzzle), strict=True):
        text += announcement
        for opening in group:
            found = search(opening.remaining, puzzle.target)
            text += f"{opening.task} {found.text}{found.conclusion}"
            if found.expression is not None:
                return text, found.expression
    return None
