"""The Countdown verifier. It uses its own tokenizer and exact fractions, never `eval`.

An answer is an expression of whole numbers, + - * / (or − × · ÷) and parentheses. It may end with
`= target`. Anything else that a model writes is refused, with the reason in one line.
"""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction

from sprint_agent.countdown.puzzle import Puzzle
from sprint_agent.errors import SprintError

MAX_LENGTH = 500
MAX_DEPTH = 50

_TOKEN = re.compile(r"[0-9]+|[-+*/()=]", re.ASCII)
_BLANK = re.compile(r"[ \t\r\n]+")
_TYPOGRAPHIC = str.maketrans("−×·÷", "-**/")


class ExpressionError(SprintError, ValueError):
    """The text is not an expression, or it divides by zero. The message says why in one line."""


def verify(answer: str, puzzle: Puzzle) -> bool:
    """Returns whether the answer makes the target from every number of the puzzle exactly once."""
    return explain(answer, puzzle) is None


def explain(answer: str, puzzle: Puzzle) -> str | None:
    """Returns why the answer is wrong, in one line, or None if it is right."""
    try:
        expression, claim = _split_claim(_tokenize(answer))
        value = _Evaluator(expression).run()
    except ExpressionError as error:
        return str(error)
    if claim is not None and claim != puzzle.target:
        return f"the answer ends in '= {claim}', but the target is {puzzle.target}"
    if misused := _misused(expression, puzzle):
        return misused
    return None if value == puzzle.target else f"the value is {value}, not {puzzle.target}"


def evaluate(expression: str) -> Fraction:
    """Returns the exact value of an expression without `= target`: 7/2 is three and a half.

    Raises:
        ExpressionError: the text is not such an expression, or it divides by zero.
    """
    return _Evaluator(_tokenize(expression)).run()


def _tokenize(text: str) -> list[str]:
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"the answer is longer than {MAX_LENGTH} characters")
    text = text.translate(_TYPOGRAPHIC)
    tokens: list[str] = []
    at = 0
    while at < len(text):
        if blank := _BLANK.match(text, at):
            at = blank.end()
            continue
        token = _TOKEN.match(text, at)
        if token is None:
            raise ExpressionError(f"{text[at]!a} is not allowed in an answer")
        tokens.append(token.group())
        at = token.end()
    if not tokens:
        raise ExpressionError("the answer is empty")
    return tokens


def _split_claim(tokens: list[str]) -> tuple[list[str], int | None]:
    """Splits a trailing `= number` from the expression before it."""
    if len(tokens) >= 2 and tokens[-2] == "=" and tokens[-1].isdigit():
        return tokens[:-2], int(tokens[-1])
    return tokens, None


def _misused(expression: list[str], puzzle: Puzzle) -> str | None:
    used = Counter(int(token) for token in expression if token.isdigit())
    given = Counter(puzzle.numbers)
    wrong = next(iter(used - given or given - used), None)
    if wrong is None:
        return None
    if wrong not in given:
        return f"{wrong} is not a number of the puzzle"
    return f"{wrong} is used {used[wrong]} times, but the puzzle has it {given[wrong]} times"


class _Evaluator:
    """A recursive descent parser: sums of products of numbers and parentheses."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def run(self) -> Fraction:
        value = self._sum()
        if self._at < len(self._tokens):
            raise ExpressionError(f"expected an operator, not {self._tokens[self._at]!r}")
        return value

    def _sum(self) -> Fraction:
        value = self._product()
        while (operator := self._peek()) in ("+", "-"):
            self._at += 1
            term = self._product()
            value = value + term if operator == "+" else value - term
        return value

    def _product(self) -> Fraction:
        value = self._atom()
        while (operator := self._peek()) in ("*", "/"):
            self._at += 1
            factor = self._atom()
            if operator == "*":
                value *= factor
            elif factor:
                value /= factor
            else:
                raise ExpressionError("the answer divides by zero")
        return value

    def _atom(self) -> Fraction:
        token = self._peek()
        self._at += 1
        if token is not None and token.isdigit():
            return Fraction(int(token))
        if token != "(":
            found = "the end" if token is None else repr(token)
            raise ExpressionError(f"expected a number or '(', not {found}")
        # Bounded, because the interpreter's own limit would raise RecursionError.
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(f"parentheses are nested more than {MAX_DEPTH} levels deep")
        value = self._sum()
        if self._peek() != ")":
            raise ExpressionError("a closing parenthesis is missing")
        self._at += 1
        self._depth -= 1
        return value

    def _peek(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None
