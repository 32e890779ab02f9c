"""Compares two answers as mathematics.

Two answers are equal only if every character of both was read, and what was read has the same value.
What is not read, or has several readings that differ, cannot be compared.
"""

from __future__ import annotations

from dataclasses import replace

from curate.grade.comparison import EQUAL, UNEQUAL, Comparison, unknown
from curate.grade.mathematics.characters import Unreadable
from curate.grade.mathematics.forms import Form, Named, Quantity
from curate.grade.mathematics.lexer import Habits, Token, tokens
from curate.grade.mathematics.pairs import compare_answers
from curate.grade.mathematics.reading import read
from curate.grade.mathematics.vocabulary import OPPOSITES

_HABITS = Habits()
_OTHER_HABITS = (
    replace(_HABITS, comma_groups=False),
    replace(_HABITS, exponent=False),
    replace(_HABITS, letter_units=True),
    replace(_HABITS, decimal_comma=True),
)


def compare(reference: str, claimed: str) -> Comparison:
    """Compares two answers."""
    try:
        first, second = tokens(reference), tokens(claimed)
    except Unreadable as why:
        return EQUAL if reference.strip() == claimed.strip() else unknown(str(why))
    if not first or not second:
        return EQUAL if reference.strip() == claimed.strip() else unknown("one of them is empty")
    if _same(first, second):
        return EQUAL
    if _differ_in_opposites(first, second):
        return UNEQUAL
    found = _compare(first, second, _HABITS)
    if found == EQUAL:
        return unknown("they may be words or products") if _anagrams(first, second) else EQUAL
    for habits in _OTHER_HABITS:
        other = _in_other_reading(reference, claimed, (first, second), habits)
        if other is not None:
            return other
    return found


def _compare(first: tuple[Token, ...], second: tuple[Token, ...], habits: Habits) -> Comparison:
    try:
        return compare_answers(read(first, habits), read(second, habits))
    except Unreadable as why:
        return unknown(str(why))
    except RecursionError:
        return unknown("it is nested too deeply")


def _in_other_reading(
    reference: str, claimed: str, usual: tuple[tuple[Token, ...], tuple[Token, ...]], habits: Habits
) -> Comparison | None:
    """Returns what another reading changes, or None if it changes nothing."""
    try:
        first, second = tokens(reference, habits), tokens(claimed, habits)
        if not habits.letter_units and (first, second) == usual:
            return None
        forms = read(first, habits), read(second, habits)
        if compare_answers(*forms) != EQUAL:
            return None
    except (Unreadable, RecursionError):
        return None
    if habits.letter_units and all(_has_unit(form) for form in forms):
        return EQUAL
    return unknown("one of them has two readings")


def _has_unit(form: Form) -> bool:
    form = form.value if isinstance(form, Named) else form
    return isinstance(form, Quantity) and form.unit is not None


def _same(first: tuple[Token, ...], second: tuple[Token, ...]) -> bool:
    return len(first) == len(second) and all(a.same(b) for a, b in zip(first, second, strict=True))


def _differ_in_opposites(first: tuple[Token, ...], second: tuple[Token, ...]) -> bool:
    """Whether the only differences are words that exclude each other."""
    if len(first) != len(second):
        return False
    different = [(a, b) for a, b in zip(first, second, strict=True) if not a.same(b)]
    pairs = [{a.text.lower(), b.text.lower()} for a, b in different]
    return bool(pairs) and all(
        len(pair) == 2 and any(pair <= words for words in OPPOSITES) for pair in pairs
    )


def _anagrams(first: tuple[Token, ...], second: tuple[Token, ...]) -> bool:
    """Whether a run of three letters or more is in another order, as in 5 tea and 5 eat."""
    runs = [
        {one.text for one in side if one.kind == "word" and len(one.text) > 2 and not one.in_text}
        for side in (first, second)
    ]
    return any(
        a != b and sorted(a) == sorted(b) for a in runs[0] - runs[1] for b in runs[1] - runs[0]
    )
