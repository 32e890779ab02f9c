"""The Countdown verifier: reads an answer with its own tokenizer and exact fractions, never eval.

An answer is a bare expression over whole numbers, + - * / (or − × · ÷) and parentheses, which may
end in `= target`. Whatever else a model may write is refused, with the reason in one line.
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
    """The text is no expression, or it divides by zero. The message is one line saying why."""


def verify(answer: str, puzzle: Puzzle) -> bool:
    """Whether the answer is right: the target, from every number of the puzzle exactly once."""
    return explain(answer, puzzle) is None


def explain(answer: str, puzzle: Puzzle) -> str | None:
    """Why the answer is wrong, in one line; None when it is right."""
    try:
        expression, claim = _split_claim(_tokenize(answer))
        value = _Evaluator(expression).run()
    except ExpressionError as error:
        return str(error)
    if claim is not None and claim != puzzle.target:
        return f"the answer ends in '= {claim}', the target is {puzzle.target}"
    if misused := _misused(expression, puzzle):
        return misused
    return None if value == puzzle.target else f"the answer is worth {value}, not {puzzle.target}"


def evaluate(expression: str) -> Fraction:
    """The exact value of a bare expression: 7/2 is three and a half. Raises ExpressionError."""
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
            raise ExpressionError(f"{text[at]!a} does not belong into an answer")
        tokens.append(token.group())
        at = token.end()
    if not tokens:
        raise ExpressionError("the answer is empty")
    return tokens


def _split_claim(tokens: list[str]) -> tuple[list[str], int | None]:
    """Part a trailing `= number` from the expression before it."""
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
        return f"{wrong} is not among the numbers of the puzzle"
    return f"{wrong} is used {used[wrong]} times, the puzzle has it {given[wrong]} times"


class _Evaluator:
    """Recursive descent over the tokens: sums of products of numbers and parentheses."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def run(self) -> Fraction:
        value = self._sum()
        if self._at < len(self._tokens):
            raise ExpressionError(f"an operator is expected, not {self._tokens[self._at]!r}")
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
            raise ExpressionError(f"a number or '(' is expected, not {found}")
        # Bounded, since the interpreter's own recursion limit would end in RecursionError.
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(f"parentheses are nested deeper than {MAX_DEPTH}")
        value = self._sum()
        if self._peek() != ")":
            raise ExpressionError("a closing parenthesis is missing")
        self._at += 1
        self._depth -= 1
        return value

    def _peek(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None
