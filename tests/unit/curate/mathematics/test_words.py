"""Answers in words."""

from __future__ import annotations

import pytest

from curate.grade.mathematics.forms import Phrase, Region
from curate.grade.mathematics.lexer import tokens
from curate.grade.mathematics.words import phrase_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Tuesday", ("tuesday",)),
        ("the Ellipse", ("ellipse",)),
        ("n\\text{ odd}", ("n", "odd")),
        ("a\\text{ odd}", ("a", "odd")),
        ("yes", ("yes",)),
        ("\\text{tea}", ("tea",)),
    ],
)
def test_phrases(text: str, words: tuple[str, ...]) -> None:
    assert phrase_of(tokens(text)) == Phrase(words)


@pytest.mark.parametrize("text", ["ab", "x", "six", "6", "two million", "a b", "a\\text{ and }b"])
def test_what_is_left_to_the_parser(text: str) -> None:
    assert phrase_of(tokens(text)) is None


def test_words_for_sets() -> None:
    assert phrase_of(tokens("no solutions")) == Region(())
    assert isinstance(phrase_of(tokens("all real numbers")), Region)
