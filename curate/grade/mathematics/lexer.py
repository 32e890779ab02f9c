"""Divides an answer into tokens. Every character is in a token, or is layout that means nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from curate.grade.mathematics.characters import Unreadable, plain
from curate.grade.mathematics.vocabulary import BARE_COMMANDS, SYNONYMS

Kind = Literal["number", "name", "word", "command", "symbol", "script"]

_LONGEST_NUMBER = 400
"""Digits of a number, or the size of an exponent, that are read as a value."""
_DEEPEST = 40


@dataclass(frozen=True, slots=True)
class Token:
    """The smallest part of an answer with a meaning."""

    kind: Kind
    text: str
    """Canonical: `\\dfrac` is `\\frac`. Equal tokens mean the same."""
    value: Fraction | None = None
    """Of a number."""
    spaced: bool = False
    """Whether there is white space before it."""
    in_text: bool = False
    """Whether it is in `\\text{…}` or the like, so that letters are words or units."""

    def same(self, other: Token) -> bool:
        """Returns whether both mean the same, wherever they are."""
        return (self.kind, self.text) == (other.kind, other.text)


@dataclass(frozen=True, slots=True)
class Habits:
    """How a form with two readings is read."""

    comma_groups: bool = True
    """1,234 is one number outside brackets and two inside. If not, it is the other way round."""
    exponent: bool = True
    """2e3 is 2000. If not, it is 2 times e times 3."""
    letter_units: bool = False
    """5 m is five meters. If not, it is 5 times m."""
    decimal_comma: bool = False
    """0,5 is one half. If not, it is 0 and 5."""


_GAP = r"(?:\\[,;:! ]|\s|~)"
_LAYOUT = re.compile(
    rf"{_GAP}|\\(?:left|right|[bB]igg?[lrm]?)(?![a-zA-Z])\.?|\\(?:q?quad|displaystyle|limits|,)(?![a-zA-Z])"
    r"|\\f?boxed(?=\s?\{)|\\(?:hspace|vspace)\*?\{[^{}]{0,20}\}|\\phantom\{\}"
)
_DIGITS = r"(?:\d+\.?\d*|\.\d+)"
_REPEATING = re.compile(
    r"(\d*)\.(\d*)(?:\\overline\s?\{(\d+)\}|\\overline\s?(\d)|\\bar\s?\{(\d+)\}|\\dot\s?\{?(\d)\}?|\((\d+)\))"
)
_SCIENTIFIC = re.compile(rf"({_DIGITS})[eE]([+-]?\d++)(?![\d.]*[a-zA-Z])")
_GROUPS = r"\d{1,3}(?:SEP\d{3})+(?!\d)(?:\.\d+)?"
_GROUPED = {
    True: re.compile(_GROUPS.replace("SEP", rf"(?:(?:,|\{{,\}}){_GAP}?\\!{_GAP}?|,|\{{,\}}|\\,)")),
    False: re.compile(_GROUPS.replace("SEP", r"(?:,\s?\\!\s?|\{,\}(?:\\!)?|\\,)")),
}
_SPACE_GROUPED = re.compile(rf"\d{{1,3}}(?:{_GAP}\d{{3}})+(?!\d|\s*[/⁄]|\s*\\[dt]?frac)(?:\.\d+)?")
_NUMBER = re.compile(_DIGITS)
_DERIVATIVE = re.compile(
    r"d(?:\^\{?(\d)\}?)?\s?([a-zA-Z])\s?/\s?d\s?([a-zA-Z])(?:\^\{?(\d)\}?)?(?![a-zA-Z])"
)
_TIMES = re.compile(r"(?<=\d)[xX](?=\s?10\s?\^)|(?<=\d\s)[xX](?=\s?10\s?\^)")
_LETTERS = re.compile(r"[^\W\d_]+")
_COMMAND = re.compile(r"\\(?:[a-zA-Z]+|[{}|\\%$#&_^])")
_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal|up)?|m?box|mathrm|mathsf|mathbf|mathit|boldsymbol|bm|textsc|operatorname\*?)\s?\{"
)
_STYLE = re.compile(
    r"\\(?:mathbf|boldsymbol|bm|mathit|mathcal|mathbb|mathfrak|vec|hat|overrightarrow|bar|tilde)\s?(?:\{([a-zA-Z])\}|([a-zA-Z])(?![a-zA-Z]))"
)
_ENVIRONMENT = re.compile(
    r"\\(begin|end)\{([a-z]?matrix|array|cases|aligned)\}(?:\{[lcr|]{1,20}\})?"
)
_LABEL = re.compile(r"\A\(?([A-J])\.\s(?=\s*\S)")
"""The letter of an option before its text."""
_DECIMAL_COMMA = re.compile(r"(?<![\d,])(\d+),(\d+)(?![\d,])")
_SYMBOLS = frozenset("+-*/^_=<>()[]{}|,;:!'&$%~\"?#€£¥¢")
_LETTERED = frozenset(
    ("\\mathbb", "\\mathcal", "\\vec", "\\hat", "\\overrightarrow", "\\bar", "\\tilde")
)


def tokens(text: str, habits: Habits = Habits()) -> tuple[Token, ...]:
    """Returns the tokens of an answer.

    Raises:
        Unreadable: a character has no meaning here.
    """
    bare = _without_dollars(plain(text).strip())
    if habits.decimal_comma:
        bare = _DECIMAL_COMMA.sub(r"\1.\2", bare)
    return tuple(_Lexer(_LABEL.sub(r"(\1) ", bare), habits).run())


def _without_dollars(text: str) -> str:
    """Removes the dollars around formulas. One alone before a number is a currency."""
    bare = re.sub(r"\\\$", "", text)
    if bare.count("$") == 1:
        return text if re.search(r"\$\s?[-\d.]", bare) else text.replace("$", " ")
    formulas = re.sub(r"(?<!\\)\$\$?", " ", text)
    return re.sub(r"\\[()\[\]]", " ", formulas).strip()


class _Lexer:
    def __init__(self, text: str, habits: Habits, in_text: bool = False, depth: int = 0) -> None:
        if depth > _DEEPEST:
            raise Unreadable(f"it is nested more than {_DEEPEST} levels deep")
        self._text = text
        self._habits = habits
        self._in_text = in_text
        self._depth = depth
        self._at = 0
        self._spaced = False
        self._brackets = 0

    def run(self) -> Iterator[Token]:
        while self._at < len(self._text):
            if layout := _LAYOUT.match(self._text, self._at):
                self._at = layout.end()
                self._spaced = True
                continue
            for token in self._next():
                yield token
                self._spaced = False

    def _token(self, kind: Kind, text: str, value: Fraction | None = None) -> Token:
        return Token(kind, text, value, self._spaced, self._in_text)

    def _next(self) -> Iterator[Token]:
        character = self._text[self._at]
        if character.isascii() and (character.isdigit() or character == "."):
            yield from self._number()
        elif found := _DERIVATIVE.match(self._text, self._at):
            self._at = found.end()
            above, of, by, below = found.groups()
            if (above or "1") != (below or "1"):
                raise Unreadable(f"{found[0]!r} has two orders")
            yield self._token("name", f"d{above or ''}{of}/d{by}{above or ''}")
        elif found := _TIMES.match(self._text, self._at):
            self._at = found.end()
            yield self._token("symbol", "*")
        elif letters := _LETTERS.match(self._text, self._at):
            self._at = letters.end()
            yield from self._letters(letters[0])
        elif character == "\\":
            yield from self._command()
        elif character in _SYMBOLS:
            self._at += 1
            self._brackets += {"(": 1, "[": 1, ")": -1, "]": -1}.get(character, 0)
            yield self._token("symbol", character)
        else:
            raise Unreadable(f"it contains the character {character!r}")

    def _number(self) -> Iterator[Token]:
        text, at = self._text, self._at
        grouped = _GROUPED[self._habits.comma_groups == (self._brackets <= 0)]
        if found := _REPEATING.match(text, at):
            value = _repeating(found)
        elif found := grouped.match(text, at) or _SPACE_GROUPED.match(text, at):
            value = _decimal(re.sub(r"[^\d.]", "", found[0]))
        elif self._habits.exponent and (found := _SCIENTIFIC.match(text, at)):
            if len(found[2].lstrip("+-")) > 4 or abs(int(found[2])) > _LONGEST_NUMBER:
                raise Unreadable(f"the exponent of {found[0][:40]!r} is too large")
            value = _decimal(found[1]) * Fraction(10) ** int(found[2])
        elif text.startswith("...", at):
            self._at += 3
            yield self._token("command", "\\ldots")
            return
        elif found := _NUMBER.match(text, at):
            end = found.end() - 1 if found[0].endswith(".") else found.end()
            if text[end : end + 1] == "." and text[end + 1 :].strip(" }$)"):
                raise Unreadable("a full stop is inside the answer")
            value = _decimal(found[0].rstrip("."))
        elif not text[at + 1 :].strip():
            self._at += 1
            return
        else:
            raise Unreadable("a full stop is inside the answer")
        self._at = found.end()
        yield self._token("number", f"{value}", value)

    def _letters(self, run: str) -> Iterator[Token]:
        command = BARE_COMMANDS.get(run)
        if command and not (self._in_text and len(run) == 1):
            yield self._token("command", command)
        elif len(run) == 1 and not self._in_text:
            yield self._token("name", run)
        else:
            yield self._token("word", run)

    def _command(self) -> Iterator[Token]:
        text, at = self._text, self._at
        if found := _STYLE.match(text, at):
            self._at = found.end()
            command = text[at : found.end()].partition("{")[0].strip()
            letter = found[1] or found[2]
            command = command.removesuffix(letter).strip() if found[2] else command
            keeps = command in _LETTERED
            yield self._token("name", f"{command}{{{letter}}}" if keeps else letter)
        elif found := _TEXT.match(text, at):
            yield from self._inside(found)
        elif found := _ENVIRONMENT.match(text, at):
            self._at = found.end()
            yield self._token("command", f"\\{found[1]}{{{found[2]}}}")
        elif found := _COMMAND.match(text, at):
            self._at = found.end()
            command = SYNONYMS.get(found[0], found[0])
            self._brackets += {"\\{": 1, "\\}": -1}.get(command, 0)
            symbol = command in _SYMBOLS or not command[1:].isalpha()
            yield self._token("symbol" if symbol else "command", command)
        else:
            raise Unreadable("a backslash is not part of a command")

    def _inside(self, opening: re.Match[str]) -> Iterator[Token]:
        """The tokens in the braces of `\\text{…}`."""
        depth, end = 1, opening.end()
        for brace in re.compile(r"\\.|[{}]", re.DOTALL).finditer(self._text, end):
            depth += {"{": 1, "}": -1}.get(brace[0], 0)
            if depth == 0:
                inner = _Lexer(self._text[end : brace.start()], self._habits, True, self._depth + 1)
                found = list(inner.run())
                for token in found:
                    spaced = token.spaced or (token is found[0] and self._spaced)
                    yield Token(token.kind, token.text, token.value, spaced, True)
                self._at = brace.end()
                self._spaced = inner._spaced
                return
        raise Unreadable("a brace is not closed")


def _decimal(text: str) -> Fraction:
    if len(text) > _LONGEST_NUMBER:
        raise Unreadable(f"a number has more than {_LONGEST_NUMBER} digits")
    return Fraction(text if text[0] != "." else f"0{text}")


def _repeating(found: re.Match[str]) -> Fraction:
    whole, start, *periods = found.groups()
    period = next(filter(None, periods))
    base = _decimal(f"{whole or 0}.{start or 0}")
    return base + Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(start))
