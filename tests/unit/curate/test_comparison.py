"""Wholes are equal if all of their parts are."""

from __future__ import annotations

from curate.grade.comparison import EQUAL, UNEQUAL, all_of, unknown


def test_all_of() -> None:
    doubt = unknown("why")
    assert all_of([]) == all_of([EQUAL, EQUAL]) == EQUAL
    assert all_of([EQUAL, doubt, UNEQUAL]) == UNEQUAL
    assert all_of([doubt, EQUAL]) == doubt
