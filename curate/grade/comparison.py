"""The result of a comparison: equal, unequal, or that the two cannot be compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether two answers are equal."""

    outcome: Literal["equal", "unequal", "unknown"]
    reason: str = ""
    """Why they cannot be compared, if the outcome is unknown."""


EQUAL = Comparison("equal")
UNEQUAL = Comparison("unequal")


def unknown(reason: str) -> Comparison:
    """Returns that two answers cannot be compared."""
    return Comparison("unknown", reason)


def all_of(parts: Iterable[Comparison]) -> Comparison:
    """Returns the comparison of wholes whose parts are compared: equal if all parts are."""
    doubt: Comparison | None = None
    for part in parts:
        if part == UNEQUAL:
            return UNEQUAL
        if part != EQUAL:
            doubt = doubt or part
    return doubt or EQUAL
