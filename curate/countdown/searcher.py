"""The searcher: solves Countdown puzzles and writes down its chain of thought, in sequence.

It does what a reasoning model does on such a puzzle. It names the numbers and tries an opening (two of
them and an operation). It works through what the remaining numbers can make of that, gives up or finds
the target, and returns to the next opening. Sums and differences come first. Only if none of them leads
to the target does it try products and quotients. It ends at the first hit.

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

The names make every number easy to find, from any distance. They go from the largest number to the
smallest, and are repeated before products and quotients. The openings are the same in every puzzle, and
one that leads nowhere is given up at once (`b / c = b 7 / c 5, not whole.`). The first line of an
attempt is its opening and what remains after it. The second line says that 8 and 18 remain, which make
26, 10 and 144. Each result is compared with the target in words, because a model learns from that to
recognize a hit. At a hit, results are replaced by what made them, one at a time: the last result first,
and the result of the opening last.

With five numbers, three and a result remain, which are a puzzle themselves. The text asks it as a
question and solves it in the same way, but without products and quotients. The outer puzzle tries those
instead.

    a + b = a 9 + b 7 = 16, c 5, d 3, e 3.
    Use 5, 3, 3 and 16 to make 24.
    a 16, b 5, c 3, d 3 to 24.
    Sums and differences first.
    …
    Answer: 8 * 3 = (11 - 3) * 3 = \\boxed{((16 - 5) - 3) * 3}
    Answer: ((16 - 5) - 3) * 3 = \\boxed{(((9 + 7) - 5) - 3) * 3}

The searcher follows whole numbers from 0 to `CAP`. It also follows a quotient that is not whole, if it
can be reduced and two more numbers remain: `a / d = a 99 / d 18 = 11/2, b 75, c 71.`
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
"""How many remaining terms are worked through directly. More of them are a smaller puzzle."""
_WITH_FRACTIONS = 4
"""How many numbers a puzzle must have for a quotient that is not whole to be followed."""


@dataclass(frozen=True, slots=True)
class Term:
    """A value that can be used: a number of the puzzle, with its name, or the result of two terms."""

    value: int | Fraction
    name: str = ""
    made: tuple[Term, str, Term] | None = None

    @property
    def named(self) -> str:
        """The value, after its name if it has one."""
        return f"{self.name} {self.value}".lstrip()

    def expression(self, kept: Sequence[Term] = ()) -> str:
        """Returns how it is made of the puzzle's numbers. Terms in `kept` are written as values."""
        if self.made is None or any(self is term for term in kept):
            return str(self.value)
        first, operation, second = self.made
        return f"{first.inner(kept)} {operation} {second.inner(kept)}"

    def inner(self, kept: Sequence[Term]) -> str:
        """Returns the expression as a part of a larger one, in parentheses unless it is a number."""
        text = self.expression(kept)
        return text if text.isdigit() else f"({text})"

    def derivation(self, steps: Sequence[Term]) -> str:
        """Returns equal forms of the expression: `steps` written out one at a time, from the last."""
        forms = [self.expression(steps[:kept]) for kept in range(len(steps), -1, -1)]
        return " = ".join([*forms[:-1], f"\\boxed{{{forms[-1]}}}"])


@dataclass(frozen=True, slots=True)
class Opening:
    """The first operation of an attempt."""

    task: str
    """The operation, such as `a - c`."""
    remaining: tuple[Term, ...]
    """The terms that remain after it. Its result is the last one."""
    dead_end: str = ""
    """Why it leads nowhere, if that is clear at once. "" otherwise."""


@dataclass(frozen=True, slots=True)
class Search:
    """The work on an opening."""

    text: str
    expression: str | None
    """The expression that makes the target. None if the opening does not lead to it."""
    nested: str = ""
    """The work on the smaller puzzle that the opening leaves, if there is one.

    In the sequential text it comes before the last line of `text`.
    """

    @property
    def sequential(self) -> str:
        """The text that includes the work on the smaller puzzle."""
        *lines, last = self.text.splitlines(keepends=True)
        return "".join(lines) + self.nested + last


def announcements(puzzle: Puzzle) -> tuple[str, ...]:
    """Returns the text before each group of openings: the named numbers, the target, the group."""
    return tuple(f"{naming(puzzle)}{text}" for text, _ in GROUPS)


def naming(puzzle: Puzzle) -> str:
    """Returns the line that names the numbers and the target."""
    return f"{', '.join(term.named for term in _named(puzzle))} to {puzzle.target}.\n"


def openings(puzzle: Puzzle) -> list[list[Opening]]:
    """Returns the openings of a puzzle, by group, in the order in which they are tried."""
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
    return Opening(task, (*rest, result), _dead_end(terms, i, operation, j, result.value))


def _dead_end(terms: Sequence[Term], i: int, operation: str, j: int, value: int | Fraction) -> str:
    """Returns why an opening leads nowhere, "" if it may lead somewhere.

    It leads nowhere if an opening with equal numbers was tried before, if it changes nothing, if its
    quotient is neither whole nor usefully reduced, or if its result is above `CAP`. The terms are
    sorted, so equal numbers are neighbours.
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
    """Works through what remains after an opening, up to the first hit or to the end."""
    *rest, result = opening.remaining
    assert result.made is not None
    first, operation, second = result.made
    task = f"= {first.named} {operation} {second.named}"
    if opening.dead_end:
        return Search(f"{task}, {opening.dead_end}.\n{NONE}", None)
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
    """Asks what remains after an opening as a smaller puzzle, and tries its sums and differences."""
    question = Puzzle(tuple(int(term.value) for term in opening.remaining), target).question
    text = f"{text}{question}\n"
    smaller = Smaller.read(text)
    assert smaller is not None
    nested, expression = _attempt(smaller.puzzle, groups=1)
    if expression is None:
        return Search(text + NONE, None, nested)
    outer, line = smaller.answered(expression)
    return Search(text + line, outer, nested)


def _nodes(
    terms: Sequence[Term],
) -> Iterator[tuple[str, tuple[Term, Term], tuple[Term, ...]]]:
    """Yields for each attempt the beginning of its line, the two last terms, and the terms made."""
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
    """Yields every operation on two of the terms, with what remains. Equal texts occur only once."""
    seen: set[tuple[int | Fraction, str, int | Fraction]] = set()
    for i, j in combinations(range(len(terms)), 2):
        rest = tuple(term for k, term in enumerate(terms) if k not in (i, j))
        for first, operation, second, result in _combine(terms[i], terms[j]):
            key = (first.value, operation, second.value)
            if key not in seen:
                seen.add(key)
                yield first, operation, second, result, rest


def _combine(a: Term, b: Term) -> Iterator[tuple[Term, str, Term, Term]]:
    """Yields what two terms make, without useless results. If order matters, the larger is first."""
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
    """Returns the chain of thought on `puzzle` and its answer, None if the searcher finds none."""
    text, expression = _attempt(puzzle, len(GROUPS))
    return None if expression is None else (text, expression)


def _attempt(puzzle: Puzzle, groups: int) -> tuple[str, str | None]:
    """Returns the chain of thought on the first `groups` groups, and the expression at its end."""
    text = ""
    tried = zip(announcements(puzzle), openings(puzzle), strict=True)
    for announcement, group in islice(tried, groups):
        text += announcement
        for opening in group:
            work = search(opening, puzzle.target)
            text += f"{opening.task} {work.sequential}"
            if work.expression is not None:
                return text, work.expression
    return text, None
