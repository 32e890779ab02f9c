"""A searcher that solves Countdown puzzles and writes its chain of thought down, in sequence.

It does what a reasoning model does on such a puzzle: it names the numbers, tries an opening (two of
them and an operation), works through what the remaining numbers can make of it, gives up or finds the
target, and goes back to the next opening. Sums and differences come first; only when none of them
leads to the target does it go on to products and quotients. It ends at the first hit.

    a 11, b 7, c 5, d 3 to 24.
    Sums and differences first.
    a + b = a 11 + b 7 = 18, c 5, d 3.
    5 + 3 = 8, and 18: + 26 high, - 10 low, * 144 high.
    …
    None.
    …
    a - c = a 11 - c 5 = 6, b 7, d 3.
    …
    7 - 3 = 4, and 6: + 10 low, - 2 low, * 24 yes.
    Answer: 4 * 6 = (7 - 3) * 6 = \\boxed{(7 - 3) * (11 - 5)}

The names make every number easy to find, from however far away; they go from the largest number to the
smallest, and are said anew before products and quotients. The openings are the same in every puzzle;
one that leads nowhere is given up at once (`b / c = b 7 / c 5, not whole.`). The first line of an
attempt is its opening and what that leaves; the second says that 8 and 18 are left, which make 26, 10
and 144. Each result is held against the target, aloud: that is what a model learns to tell a hit by. At
a hit, results are replaced by what made them, one at a time, the last one first and the opening's last.

With five numbers, three and a result are left: a puzzle of its own. It is asked in so many words, and
gone about in the same way, but for its products and quotients, which the whole puzzle tries instead.

    a + b = a 9 + b 7 = 16, c 5, d 3, e 3.
    Use 5, 3, 3 and 16 to make 24.
    a 16, b 5, c 3, d 3 to 24.
    Sums and differences first.
    …
    Answer: 8 * 3 = (11 - 3) * 3 = \\boxed{((16 - 5) - 3) * 3}
    Answer: ((16 - 5) - 3) * 3 = \\boxed{(((9 + 7) - 5) - 3) * 3}

Whole numbers from 0 to `CAP` are followed, and a quotient that is none where it can be reduced and two
more numbers are left: `a / d = a 99 / d 18 = 11/2, b 75, c 71.`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, islice

from sprint_agent.countdown import Puzzle, Smaller
from sprint_agent.countdown.smaller import NONE

CAP = 200
GROUPS = (("Sums and differences first.\n", "+-"), ("Now products and quotients.\n", "*/"))
NAMES = "abcdef"
_AT_ONCE = 3
"""How many terms are worked through at once; more of them are a puzzle of their own."""
_WITH_FRACTIONS = 4
"""Of how many numbers a quotient that is not whole is followed."""


@dataclass(frozen=True, slots=True)
class Term:
    """A value on the table: a number of the puzzle, by its name, or what two terms make."""

    value: int | Fraction
    name: str = ""
    made: tuple[Term, str, Term] | None = None

    @property
    def named(self) -> str:
        """The value with its name before it, if it has one."""
        return f"{self.name} {self.value}".lstrip()

    def expression(self, kept: Sequence[Term] = ()) -> str:
        """How it is made, out of the puzzle's own numbers and of what is `kept` as a value."""
        if self.made is None or any(self is term for term in kept):
            return str(self.value)
        first, operation, second = self.made
        return f"{first.inner(kept)} {operation} {second.inner(kept)}"

    def inner(self, kept: Sequence[Term]) -> str:
        """The expression as it stands inside a larger one."""
        text = self.expression(kept)
        return text if text.isdigit() else f"({text})"

    def derivation(self, steps: Sequence[Term]) -> str:
        """The expression, with `steps` replaced by what made them one at a time, the last one first."""
        forms = [self.expression(steps[:kept]) for kept in range(len(steps), -1, -1)]
        return " = ".join([*forms[:-1], f"\\boxed{{{forms[-1]}}}"])


@dataclass(frozen=True, slots=True)
class Opening:
    """The first operation of an attempt, such as `a - c`, and what it leaves, its result last.

    `barren` says why it leads nowhere, where that is clear at once.
    """

    task: str
    remaining: tuple[Term, ...]
    barren: str = ""


@dataclass(frozen=True, slots=True)
class Search:
    """What became of an opening: the text of the work on it, and the expression if it hit.

    `inside` is the work on a smaller puzzle, where the opening left one: in sequence, it stands before
    the last line of the text.
    """

    text: str
    expression: str | None
    inside: str = ""

    @property
    def sequential(self) -> str:
        """The text with all work in its place."""
        *lines, last = self.text.splitlines(keepends=True)
        return "".join(lines) + self.inside + last


def announcements(puzzle: Puzzle) -> tuple[str, ...]:
    """What is said before each group of openings: the numbers with their names, and the target."""
    return tuple(f"{naming(puzzle)}{text}" for text, _ in GROUPS)


def naming(puzzle: Puzzle) -> str:
    """The line that gives the numbers their names, and says the target."""
    return f"{', '.join(term.named for term in _named(puzzle))} to {puzzle.target}.\n"


def openings(puzzle: Puzzle) -> list[list[Opening]]:
    """The openings of a puzzle, by group, in the order in which they are tried."""
    terms = _named(puzzle)
    return [
        [
            _opening(terms, i, o, j)
            for i, j in combinations(range(len(terms)), 2)
            for o in operations
        ]
        for _, operations in GROUPS
    ]


def _named(puzzle: Puzzle) -> list[Term]:
    numbers = sorted(puzzle.numbers, reverse=True)
    return [Term(number, name) for number, name in zip(numbers, NAMES, strict=False)]


def _opening(terms: Sequence[Term], i: int, operation: str, j: int) -> Opening:
    first, second = terms[i], terms[j]
    result = Term(_apply(first.value, operation, second.value), made=(first, operation, second))
    rest = tuple(term for k, term in enumerate(terms) if k not in (i, j))
    task = f"{first.name} {operation} {second.name}"
    return Opening(task, (*rest, result), _barren(terms, i, operation, j, result.value))


def _barren(terms: Sequence[Term], i: int, operation: str, j: int, value: int | Fraction) -> str:
    """Why an opening leads nowhere; "" where it leads somewhere. Equal numbers stand side by side.

    One with equal numbers was tried before, it changes nothing, its quotient is neither whole nor worth
    reducing, or its result is above `CAP`.
    """
    if i > 0 and terms[i - 1].value == terms[i].value:
        return "as before"
    if j > i + 1 and terms[j - 1].value == terms[j].value:
        return "as before"
    if operation == "/" and terms[j].value == 1:
        return "no use"
    if isinstance(value, Fraction):
        reduced = value.denominator < terms[j].value
        return "" if reduced and len(terms) == _WITH_FRACTIONS else "not whole"
    if value == 0 and len(terms) > _AT_ONCE + 1:
        return "no use"
    return "too large" if value > CAP else ""


def _apply(large: int | Fraction, operation: str, small: int | Fraction) -> int | Fraction:
    match operation:
        case "+":
            return large + small
        case "-":
            return large - small
        case "*":
            return large * small
        case _:
            return large // small if large % small == 0 else Fraction(large) / small


def search(opening: Opening, target: int) -> Search:
    """Works through what an opening leaves, to the end or to the first hit."""
    *rest, result = opening.remaining
    assert result.made is not None
    first, operation, second = result.made
    task = f"= {first.named} {operation} {second.named}"
    if opening.barren:
        return Search(f"{task}, {opening.barren}.\n{NONE}", None)
    left = ", ".join(term.named for term in rest)
    text = f"{task} = {result.value}, {left}.\n"
    if len(opening.remaining) > _AT_ONCE:
        return _ask(text, opening, target)
    for head, pair, made in _nodes(opening.remaining):
        line, hit = _leaves(head, pair, target)
        text += line
        if hit is not None:
            derivation = hit.derivation((result, *made))
            return Search(f"{text}Answer: {derivation}\n", hit.expression())
    return Search(text + NONE, None)


def _ask(text: str, opening: Opening, target: int) -> Search:
    """Asks what an opening leaves as a puzzle of its own, and tries its sums and differences."""
    question = Puzzle(tuple(int(term.value) for term in opening.remaining), target).question
    text = f"{text}{question}\n"
    smaller = Smaller.read(text)
    assert smaller is not None
    inside, expression = _attempt(smaller.puzzle, groups=1)
    if expression is None:
        return Search(text + NONE, None, inside)
    whole, line = smaller.answered(expression)
    return Search(text + line, whole, inside)


def _nodes(
    terms: Sequence[Term],
) -> Iterator[tuple[str, tuple[Term, Term], tuple[Term, ...]]]:
    """What is tried: how its line begins, the two terms that are left, and what was made for it."""
    if len(terms) == 2:
        yield f"{terms[0].value} and {terms[1].value}:", (terms[0], terms[1]), ()
        return
    for first, operation, second, result, (rest,) in _steps(terms):
        head = f"{first.value} {operation} {second.value} = {result.value}, and {rest.value}:"
        yield head, (result, rest), (result,)


def _leaves(head: str, pair: tuple[Term, Term], target: int) -> tuple[str, Term | None]:
    parts: list[str] = []
    for _, operation, _, result in _combine(*pair):
        if result.value == 0:
            continue
        if result.value == target:
            parts.append(f" {operation} {result.value} yes")
            return f"{head}{','.join(parts)}.\n", result
        parts.append(f" {operation} {result.value} {'high' if result.value > target else 'low'}")
    return f"{head}{','.join(parts) or ' none'}.\n", None


_Step = tuple[Term, str, Term, Term, tuple[Term, ...]]


def _steps(terms: Sequence[Term]) -> Iterator[_Step]:
    """Every operation on two of the terms, with what remains; none twice that reads the same."""
    seen: set[tuple[int | Fraction, str, int | Fraction]] = set()
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
    candidates = [(a, "+", b, a.value + b.value)]
    if small.value > 0:
        candidates.append((large, "-", small, large.value - small.value))
    candidates.append((a, "*", b, a.value * b.value))
    if small.value > 1 and large.value % small.value == 0:
        candidates.append((large, "/", small, large.value // small.value))
    for first, operation, second, value in candidates:
        if 0 <= value <= CAP and value.denominator == 1:
            yield first, operation, second, Term(int(value), made=(first, operation, second))


def write(puzzle: Puzzle) -> tuple[str, str] | None:
    """The chain of thought on `puzzle` and its answer; None where the searcher finds none."""
    text, expression = _attempt(puzzle, len(GROUPS))
    return None if expression is None else (text, expression)


def _attempt(puzzle: Puzzle, groups: int) -> tuple[str, str | None]:
    """The chain of thought on so many groups of openings, and the expression that it ends in."""
    text = ""
    tried = zip(announcements(puzzle), openings(puzzle), strict=True)
    for announcement, group in islice(tried, groups):
        text += announcement
        for opening in group:
            found = search(opening, puzzle.target)
            text += f"{opening.task} {found.sequential}"
            if found.expression is not None:
                return text, found.expression
    return text, None
