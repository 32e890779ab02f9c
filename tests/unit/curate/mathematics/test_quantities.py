"""Expressions with units."""

from __future__ import annotations

import pytest

from curate.grade.mathematics.characters import Unreadable
from curate.grade.mathematics.lexer import Habits, tokens
from curate.grade.mathematics.quantities import quantity
from curate.grade.mathematics.units import UNITS, Unit
from curate.grade.mathematics.values import exact


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("5", 5, None),
        ("5 km", 5, UNITS["km"]),
        ("5\\text{ km/h}", 5, UNITS["km"] / UNITS["h"]),
        ("5 m/s^2", 5, UNITS["m"] / UNITS["s"] ** 2),
        ("5\\frac{\\text{m}}{\\text{s}}", 5, UNITS["m"] / UNITS["s"]),
        ("5 square meters", 5, UNITS["m"] ** 2),
        ("5 meters squared", 5, UNITS["m"] ** 2),
        ("5 cubic feet per minute", 5, UNITS["ft"] ** 3 / UNITS["min"]),
        ("-$5", -5, UNITS["$"]),
        ("€5", 5, UNITS["euro"]),
        ("-5\\%", -5, UNITS["percent"]),
        ("30°C", 30, UNITS["celsius"]),
        ("twenty-one days", 21, UNITS["day"]),
        ("3 million", 3000000, None),
        ("3 eggs", 3, Unit((), noun="egg")),
    ],
)
def test_quantities(text: str, value: int, unit: Unit | None) -> None:
    found = quantity(tokens(text), Habits())
    assert (exact(found.tree), found.unit) == (value, unit)


def test_single_letters_are_units_if_that_is_the_habit() -> None:
    assert quantity(tokens("5 m"), Habits()).unit is None
    assert quantity(tokens("5 m"), Habits(letter_units=True)).unit == UNITS["m"]


@pytest.mark.parametrize(
    "text", ["$5 km", "5 widgets more", "5 km^x", "5 km^9", "5 per", "5 km/", "5 of them"]
)
def test_what_is_left_over_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        quantity(tokens(text), Habits())
