"""Values in a text: the numbers, names and formulas whose use in another text can be recognized.

Small integers are not values. They occur everywhere, so two texts that share a 3 are not related by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

_SMALL = 12
"""Integers up to this one, and round ones, do not show where they come from."""
_ROUND = frozenset({*range(10, 101, 10), 180, 360, 1000})
_LEAST_FORMULA = 5
"""Characters, spaces not counted. Shorter formulas occur in many texts by chance."""

_FRACTION = re.compile(
    r"\\[dt]?frac\{(\d{1,12})\}\{(\d{1,12})\}"
    r"|(?<![\w./])(\d{1,12})\s?/\s?(\d{1,12})(?![\w/])"
)
_NUMBER = re.compile(r"(?<![\w.\\])(?:\d{1,3}(?:,\d{3})+|\d{1,18})(?:\.\d{1,18})?(?![\w]|\.\d)")
_NAME = r"[A-Za-z](?:_\{?\w{1,8}\}?|\d{0,2})"
_DEFINED = re.compile(
    rf"\b(?:let|define|denote|set|call(?:\s+(?:it|this|that))?)\s+\$?({_NAME})\$?(?=\s*(?:=|:=|\bbe\b|\bas\b|[,.;]|\bthe\b))",
    re.IGNORECASE,
)
_MATH = re.compile(r"\$\$?([^$\n]{1,400}?)\$\$?|\\\((.{1,400}?)\\\)|\\\[(.{1,400}?)\\\]", re.DOTALL)
_IN_MATH = re.compile(rf"(?<![A-Za-z\\_{{]){_NAME}(?![A-Za-z(])")
_BARE = re.compile(
    rf"(?<![\w\\]){_NAME}(?=\s*[-+*/^=<>≤≥]\s*[\w(])|(?<=[-+*/^=<>≤≥]\s){_NAME}(?!\w)"
)
_OPERATOR = re.compile(r"[-+*/^=<>]|\\[A-Za-z]+|[≤≥√·×÷]")
_ARITHMETIC = re.compile(r"\\(?:cdot|times|div|[dt]?frac|[dt]?binom)(?![A-Za-z])")
"""Operators of a calculation with numbers. It is not a formula: its numbers already identify it."""
_PRODUCED = re.compile(
    r"(?:=|≈|:(?=\s)|→|\\approx|\\to|\\implies|['’]s\b"
    r"|\b(?:is|are|be|gives?|gets?|got|equals?|makes?|yields?|becomes?|has|have|finds?|found|obtains?"
    r"|leaves?|totals?|costs?|say|sums? to|to|of|so|hence|thus|therefore))"
    r"(?:\s|\\,|\\;|\\boxed\{|about|roughly|nearly|almost|exactly|only|just|at most|at least"
    r"|[$({*−-])*\Z",
    re.IGNORECASE,
)
_OPERAND = re.compile(
    r"[ ]?(?:[+/×·÷^]|\*(?!\*)|\\(?:cdot|times|div)(?![A-Za-z])|[-−]\s?(?:[\d({\\]|[A-Za-z]\b))"
)
"""What follows a number that a text does not produce, but uses as an operand."""


@dataclass(frozen=True, slots=True)
class Value:
    """One occurrence of a value in a text."""

    key: str
    """Identifies the value. It is the same for all ways to write it."""
    shown: str
    """The value as the text writes it."""
    at: int
    """The position in the text, in characters."""
    produced: bool
    """Whether the text produces the value here, for example after an equals sign or by defining a name.
    Such a value need not be known before."""


def values(text: str) -> tuple[Value, ...]:
    """Returns the values in `text`, in order."""
    found = [*_numbers(text), *_formulas(text), *_names(text)]
    return tuple(sorted(found, key=lambda value: value.at))


class ValueReader:
    """Reads the values of the texts of one trajectory, each text once.

    The leak check reads every text again for each stage and after each edge that it adds.
    """

    def __init__(self) -> None:
        self._read: dict[str, tuple[Value, ...]] = {}

    def values(self, text: str) -> tuple[Value, ...]:
        """Returns the values in `text`, in order."""
        found = self._read.get(text)
        if found is None:
            found = self._read[text] = values(text)
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
            yield _value(f"number {amount}", match, text)
        if amount.denominator < int(below):
            # A fraction that is not in lowest terms shows two numbers, one divided by the other.
            yield from _divided(match, above, below)
    fractions = iter(taken)
    upcoming = next(fractions, None)
    for match in _NUMBER.finditer(text):
        while upcoming and upcoming[1] <= match.start():
            upcoming = next(fractions, None)
        if upcoming and upcoming[0] <= match.start():
            continue
        amount = Fraction(match[0].replace(",", ""))
        if amount.denominator > 1 or _is_specific(amount):
            yield _value(f"number {amount}", match, text)


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
                yield Value(f"formula {plain}", part.strip(), at, _is_produced(text, at))


def _names(text: str) -> Iterator[Value]:
    for match in _DEFINED.finditer(text):
        yield Value(f"name {_plain(match[1])}", match[1], match.start(1), True)
    for match in _MATH.finditer(text):
        for name in _IN_MATH.finditer(match[0]):
            yield Value(f"name {_plain(name[0])}", name[0], match.start() + name.start(), False)
    for name in _BARE.finditer(text):
        yield Value(f"name {_plain(name[0])}", name[0], name.start(), False)


def _plain(name: str) -> str:
    return name.replace("{", "").replace("}", "")


def _value(key: str, match: re.Match[str], text: str) -> Value:
    produced = _is_produced(text, match.start()) and not _OPERAND.match(text, match.end())
    return Value(key, match[0], match.start(), produced)


def _is_produced(text: str, at: int) -> bool:
    return bool(_PRODUCED.search(text[max(0, at - 24) : at]))
