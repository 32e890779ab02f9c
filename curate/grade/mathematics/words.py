"""Answers in words."""

from __future__ import annotations

from curate.grade.mathematics.forms import (
    Interval,
    Phrase,
    Region,
)
from curate.grade.mathematics.lexer import Token
from curate.grade.mathematics.splitting import Tokens
from curate.grade.mathematics.trees import INFINITY, MINUS_INFINITY
from curate.grade.mathematics.vocabulary import NUMBER_WORDS, SCALES, SHORT_WORDS

_ARTICLES = frozenset(("a", "an", "the"))
_EMPTY = frozenset((("no", "solution"), ("no", "solutions"), ("empty", "set")))
_REALS = frozenset((("all", "real", "numbers"), ("all", "reals"), ("real", "numbers")))


def phrase_of(tokens: Tokens) -> Phrase | Region | None:
    """Returns an answer that consists of words, or None for any other.

    Words that are numbers, and runs of letters that may be products, are left to the parser.
    """
    if not all(
        token.kind == "word" or (token.kind == "name" and len(tokens) > 1) for token in tokens
    ):
        return None
    # A single letter is a variable outside of `\\text{…}`, and not an article.
    article = len(tokens) > 1 and tokens[0].kind == "word" and tokens[0].text.lower() in _ARTICLES
    words = tuple(token.text.lower() for token in (tokens[1:] if article else tokens))
    if words[0] in NUMBER_WORDS or words[-1] in SCALES:
        return None
    if all(token.kind == "name" or _may_be_product(token) for token in tokens):
        return None
    if any(token.kind == "name" for token in tokens) and {"and", "or"} & {*words}:
        return None
    if words in _EMPTY:
        return Region(())
    if words in _REALS:
        return Region((Interval(MINUS_INFINITY, INFINITY, False, False),))
    return Phrase(words)


def _may_be_product(token: Token) -> bool:
    return not token.in_text and len(token.text) <= 3 and token.text.lower() not in SHORT_WORDS
