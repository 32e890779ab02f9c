"""Units: their dimensions and sizes, and what is counted."""

from __future__ import annotations

from fractions import Fraction

import pytest

from curate.grade.mathematics.units import UNITS, noun_of, unit_of


def test_products_and_powers() -> None:
    speed = UNITS["km"] / UNITS["h"]
    assert speed.dimensions == (("length", 1), ("time", -1))
    assert speed.size == Fraction(5, 18)
    assert (UNITS["m"] ** 2).dimensions == (("length", 2),)
    assert UNITS["N"] * UNITS["m"] == UNITS["J"]


@pytest.mark.parametrize(
    ("word", "other"),
    [
        ("min", "minutes"),
        ("ft", "feet"),
        ("km", "kilometers"),
        ("Meters", "m"),
        ("mL", "milliliters"),
    ],
)
def test_names(word: str, other: str) -> None:
    assert unit_of(word) == unit_of(other) != None  # noqa: E711


@pytest.mark.parametrize("word", ["x", "widgets", "Mm3", "KM", ""])
def test_unknown_units(word: str) -> None:
    assert unit_of(word) is None


@pytest.mark.parametrize("word", ["apples", "eggs", "people", "boxes", "cup"])
def test_what_is_counted(word: str) -> None:
    assert noun_of(word)


@pytest.mark.parametrize(
    "word",
    [
        "tens",
        "hundredths",
        "halves",
        "minus",
        "times",
        "squares",
        "less",
        "always",
        "upwards",
        "odd",
    ],
)
def test_words_that_change_the_number_count_nothing(word: str) -> None:
    assert noun_of(word) is None
