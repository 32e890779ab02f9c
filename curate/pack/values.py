"""Values in a text: the numbers, names and formulas whose use in another text can be recognized.

Small integers are not values. They occur everywhere, so two texts that share a 3 are not related by it.
But `the 3 paths` relies on a text that found 3 paths.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache

from curate.pack.names import names
from curate.pack.wording import Value, is_produced, is_stated, is_tried

_SMALL = 12
"""Integers up to this one, and round ones, do not show where they come from."""
_ROUND = frozenset({*range(10, 101, 10), 180, 360, 1000})
_LARGE = 100
_CONCLUSION = 250
"""Characters. A number below `_LARGE` lasts if so many characters or fewer follow it."""
_LEAST_FORMULA = 5
"""Characters, spaces not counted. Shorter formulas occur in many texts by chance."""

_FRACTION = re.compile(
    r"\\[dt]?frac\{(\d{1,12})\}\{(\d{1,12})\}"
    r"|(?<![\w./])(\d{1,12})\s?/\s?(\d{1,12})(?![\w/])"
)
_NUMBER = re.compile(r"(?<![\w.\\])(?:\d{1,3}(?:,\d{3})+|\d{1,18})(?:\.\d{1,18})?(?![\w]|\.\d)")
_MATH = re.compile(r"\$\$?([^$\n]{1,400}?)\$\$?|\\\((.{1,400}?)\\\)|\\\[(.{1,400}?)\\\]", re.DOTALL)
_COUNT = re.compile(
    r"(?:\b(the|these|those|its|their|our)\s+)?(?<![\w.,$])(\d{1,3})\s+([A-Za-z]{3,15}s)\b",
    re.IGNORECASE,
)
_PLAIN = r"\d{1,18}(?:\.\d{1,18})?"
_LIST = re.compile(
    rf"(?<![\w.]){_PLAIN}[,;]\s{_PLAIN}(?:(?:[,;]\s(?:(?:and|or)\s)?|\s(?:and|or)\s){_PLAIN}){{1,99}}"
)
"""Three numbers or more, which are often trials."""
_MINUTES = re.compile(r"\d:\Z")
_OPERATOR = re.compile(r"[-+*/^=<>]|\\[A-Za-z]+|[≤≥√·×÷]")
_ARITHMETIC = re.compile(r"\\(?:cdot|times|div|[dt]?frac|[dt]?binom)(?![A-Za-z])")
"""Operators of a calculation with numbers. It is not a formula: its numbers already identify it."""
_OPERAND = re.compile(
    r"[ ]?(?:[+/×·÷^]|\*(?!\*)|\\(?:cdot|times|div)(?![A-Za-z])|[-−]\s?(?:[\d({\\]|[A-Za-z]\b))"
)
"""What follows a number that a text does not produce, but uses as an operand."""


def values(text: str) -> tuple[Value, ...]:
    """Returns the values in `text`, in order."""
    found = [*_numbers(text), *_counts(text), *_formulas(text), *names(text)]
    return tuple(sorted(found, key=lambda value: value.at))


class ValueReader:
    """Reads the values of the texts of one trajectory, each text once.

    The leak check reads every text again for each stage and after each edge that it adds.
    """

    def __init__(self) -> None:
        self._read: dict[str, tuple[Value, ...]] = {}
        self._found: dict[str, tuple[str, ...]] = {}

    def values(self, text: str) -> tuple[Value, ...]:
        """Returns the values in `text`, in order."""
        found = self._read.get(text)
        if found is None:
            found = self._read[text] = values(text)
        return found

    def found(self, text: str) -> tuple[str, ...]:
        """Returns the keys of the values that a text produces and that others may rely on."""
        found = self._found.get(text)
        if found is None:
            kept = (v.key for v in self.values(text) if v.produced and v.lasting)
            found = self._found[text] = tuple(dict.fromkeys(kept))
        return found

    def keys(self, *texts: str) -> set[str]:
        """Returns the keys of all values in the texts."""
        return {value.key for text in texts for value in self.values(text)}


def _numbers(text: str) -> Iterator[Value]:
    taken: list[tuple[int, int]] = []
    for match in _FRACTION.finditer(text):
        above, below = (match[1], match[2]) if match[1] else (match[3], match[4])
        taken.append(match.span())
        if not int(below):
            continue
        amount = Fraction(int(above), int(below))
        if amount.denominator > 1:
            yield _value(f"number {amount}", match, text, False)
        if amount.denominator < int(below):
            # A fraction that is not in lowest terms shows two numbers, one divided by the other.
            yield from _divided(match, above, below)
    lists = [match.span() for match in _LIST.finditer(text)]
    starts = [start for start, _ in lists]

    def is_listed(at: int) -> bool:
        before = bisect_right(starts, at)
        return before > 0 and at < lists[before - 1][1]

    fractions = iter(taken)
    upcoming = next(fractions, None)
    for match in _NUMBER.finditer(text):
        while upcoming and upcoming[1] <= match.start():
            upcoming = next(fractions, None)
        if upcoming and upcoming[0] <= match.start():
            continue
        amount = _amount(match[0])
        if amount.denominator > 1 or _is_specific(amount):
            yield _value(f"number {amount}", match, text, is_listed(match.start()))


def _divided(match: re.Match[str], *parts: str) -> Iterator[Value]:
    for part in parts:
        amount = Fraction(part)
        if _is_specific(amount):
            yield Value(f"number {amount}", part, match.start() + match[0].find(part), False)


def _is_specific(amount: Fraction) -> bool:
    """Whether a number is large enough, and not round, so that its use shows where it comes from."""
    return amount > _SMALL and amount not in _ROUND


def _formulas(text: str) -> Iterator[Value]:
    for match in _MATH.finditer(text):
        for part in re.split(r"=|\\implies|\\Rightarrow|,", match[1] or match[2] or match[3]):
            plain = re.sub(r"\s|\\[,;!]|\\left|\\right", "", part)
            letters = any(c.isalpha() for c in _ARITHMETIC.sub("", plain))
            if len(plain) >= _LEAST_FORMULA and letters and _OPERATOR.search(plain):
                at = match.start() + match[0].find(part)
                yield Value(f"formula {plain}", part.strip(), at, is_stated(text, at))


def _counts(text: str) -> Iterator[Value]:
    """Yields small numbers of something, such as `7 paths`. `The 7 paths` relies on an earlier text."""
    for match in _COUNT.finditer(text):
        amount = Fraction(match[2])
        if not _is_specific(amount):
            key = f"count {match[2]} {match[3].lower().removesuffix('s')}"
            definite = match[1] is not None
            produced = not definite and is_produced(text, match.start(2))
            yield Value(key, f"{match[2]} {match[3]}", match.start(2), produced, definite)


def _value(key: str, match: re.Match[str], text: str, listed: bool) -> Value:
    at, end = match.span()
    if not listed and is_produced(text, at) and not _OPERAND.match(text, end):
        lasting = len(text) - end <= _CONCLUSION or _is_large(match[0])
        return Value(key, match[0], at, produced=True, lasting=lasting)
    chosen = listed or is_tried(text, at) or _MINUTES.search(text, max(0, at - 2), at) is not None
    return Value(key, match[0], at, produced=False, used=not chosen)


def _is_large(number: str) -> bool:
    amount = number.replace(",", "")
    return not amount.isdecimal() or int(amount) >= _LARGE


@lru_cache(maxsize=4096)
def _amount(number: str) -> Fraction:
    return Fraction(number.replace(",", ""))
