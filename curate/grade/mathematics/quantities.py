"""Reads an expression with its unit."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from curate.grade.mathematics.characters import Unreadable
from curate.grade.mathematics.expressions import Expressions
from curate.grade.mathematics.forms import Quantity
from curate.grade.mathematics.lexer import Habits, Token
from curate.grade.mathematics.trees import Apply, Number, Tree, negative
from curate.grade.mathematics.units import ANGLE, PERCENT, UNITS, Unit, noun_of, unit_of
from curate.grade.mathematics.vocabulary import NUMBER_WORDS, SCALES

_CURRENCIES = ("$", "€", "£", "¥")
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "squared": 2, "cubed": 3}
_MARKS = {
    "degree": ANGLE, "percent": PERCENT, "degree C": UNITS["celsius"], "degree F": UNITS["fahrenheit"],
}  # fmt: skip
_LARGEST_POWER = 6


def quantity(tokens: Sequence[Token], habits: Habits) -> Quantity:
    """Reads a quantity from all of the tokens.

    Raises:
        Unreadable: they are none.
    """
    start, unit = _split_letter_unit(tokens, habits)
    parser = Expressions(start)
    sign = parser.sees("-") and parser.sees(*_CURRENCIES, ahead=1) and parser.take("-")
    currency = parser.take(*_CURRENCIES)
    tree = _number_word(parser) or parser.sum()
    while (token := parser.peek()) and token.kind == "word" and token.text.lower() in SCALES:
        parser.at += 1
        tree = Apply("*", (tree, Number(SCALES[token.text.lower()])))
    tree, mark = _unmarked(negative(tree) if sign else tree)
    found = _UnitReader(parser).unit() if parser.peek() else None
    units = [one for one in (UNITS[currency] if currency else None, mark, found, unit) if one]
    if len(units) > 1:
        raise Unreadable("it has two units")
    run = tokens[0].text if len(tokens) == 1 and tokens[0].kind == "word" else ""
    return Quantity(tree, units[0] if units else None, parser.base, run)


def _number_word(parser: Expressions) -> Tree | None:
    token = parser.peek()
    if token is None or token.kind != "word" or token.text.lower() not in NUMBER_WORDS:
        return None
    parser.at += 1
    number = NUMBER_WORDS[token.text.lower()]
    following = parser.peek(1) if parser.sees("-") else parser.peek()
    ones = NUMBER_WORDS.get(following.text.lower(), 0) if following else 0
    if number >= 20 and number % 10 == 0 and 0 < ones < 10:
        parser.at += 2 if parser.sees("-") else 1
        number += ones
    return Number(Fraction(number))


def _unmarked(tree: Tree) -> tuple[Tree, Unit | None]:
    """Returns the expression before a degree or percent sign, and the unit."""
    match tree:
        case Apply("neg", (Apply(operation, (inner,)),)) if operation in _MARKS:
            return negative(inner), _MARKS[operation]
        case Apply(operation, (inner,)) if operation in _MARKS:
            return inner, _MARKS[operation]
        case _:
            return tree, None


def _split_letter_unit(
    tokens: Sequence[Token], habits: Habits
) -> tuple[Sequence[Token], Unit | None]:
    """Splits a unit whose symbols are single letters, as in 5 m/s, from a number before it."""
    for k in range(1, len(tokens)):
        token, before = tokens[k], tokens[k - 1]
        if token.kind != "name" or not token.spaced:
            continue
        if before.kind != "number" and before.text != "}":
            return tokens, None
        if not habits.letter_units and not any(one.text == "/" for one in tokens[k:]):
            return tokens, None
        try:
            return tokens[:k], _UnitReader(Expressions(tokens[k:])).unit()
        except Unreadable:
            return tokens, None
    return tokens, None


class _UnitReader:
    """Reads a unit up to the end of the tokens."""

    def __init__(self, parser: Expressions) -> None:
        self._parser = parser

    def unit(self) -> Unit:
        unit = self._fraction() or self._power()
        while self._parser.peek() is not None:
            if self._divides():
                unit = unit / self._power()
            else:
                self._parser.take("*")
                unit = unit * (self._fraction() or self._power())
        return unit

    def _divides(self) -> bool:
        token = self._parser.peek()
        if token is not None and token.kind == "word" and token.text.lower() == "per":
            self._parser.at += 1
            return True
        return self._parser.take("/") is not None

    def _fraction(self) -> Unit | None:
        if not self._parser.take("\\frac"):
            return None
        parts: list[Unit] = []
        for _ in range(2):
            self._parser.expect("{")
            unit = self._power()
            while not self._parser.take("}"):
                unit = unit * self._power()
            parts.append(unit)
        return parts[0] / parts[1]

    def _power(self) -> Unit:
        word = self._word()
        if power := _POWERS.get(word.lower()):
            return self._named(self._word()) ** power
        unit = self._named(word)
        token = self._parser.peek()
        if (
            token is not None
            and token.kind == "word"
            and token.text.lower() in ("squared", "cubed")
        ):
            self._parser.at += 1
            return unit ** _POWERS[token.text.lower()]
        return unit ** self._exponent() if self._parser.take("^") else unit

    def _exponent(self) -> int:
        braced = self._parser.take("{")
        sign = -1 if self._parser.take("-") else 1
        token = self._parser.peek()
        if token is None or token.value is None or token.value.denominator > 1:
            raise Unreadable(f"{self._parser.shown()} is not a power of a unit")
        self._parser.at += 1
        if token.value > _LARGEST_POWER:
            raise Unreadable("the power of a unit is too large")
        if braced:
            self._parser.expect("}")
        return sign * int(token.value)

    def _word(self) -> str:
        token = self._parser.peek()
        symbol = token is not None and token.text in ("%", "\\Omega")
        if token is None or (token.kind not in ("word", "name") and not symbol):
            raise Unreadable(f"{self._parser.shown()} is not a unit")
        self._parser.at += 1
        return token.text

    def _named(self, word: str) -> Unit:
        unit = unit_of(word) or noun_of(word)
        if unit is None:
            raise Unreadable(f"{word[:40]!r} is not a known unit")
        return unit
