"""Limits and prices."""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprint_agent import Limits, Prices

NAMES = [field.name for field in fields(Limits)]


def test_by_default_no_limit_is_set() -> None:
    assert asdict(Limits()) == dict.fromkeys(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bound", [0, -1])
def test_a_limit_must_be_positive(name: str, bound: Any) -> None:
    with pytest.raises(ValueError, match=f"^the limit {name} must be positive, not {bound}$"):
        Limits(**{name: bound})


@pytest.mark.parametrize("name", ["deadline", "cost"])
@pytest.mark.parametrize("bound", [-0.5, math.nan])
def test_seconds_and_money_may_be_fractions_but_must_be_positive(name: str, bound: Any) -> None:
    with pytest.raises(ValueError, match=f"^the limit {name} must be positive, not {bound}$"):
        Limits(**{name: bound})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bound", ["7", True, [3], {"tokens": 5}])
def test_a_limit_must_be_a_number(name: str, bound: Any) -> None:
    with pytest.raises(TypeError, match=f"^the limit {name} must be a .*number, not "):
        Limits(**{name: bound})


@pytest.mark.parametrize("name", sorted({*NAMES} - {"deadline", "cost"}))
@pytest.mark.parametrize("bound", [1.5, 3.0, math.inf])
def test_what_is_counted_must_be_whole(name: str, bound: Any) -> None:
    with pytest.raises(TypeError, match=f"^the limit {name} must be a whole number, not {bound}$"):
        Limits(**{name: bound})


@pytest.mark.parametrize("name", NAMES)
def test_one_is_the_smallest_limit(name: str) -> None:
    assert asdict(Limits(**{name: 1}))[name] == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("one", "other", "tighter"), [(5, 7, 5), (7, 5, 5), (3, 3, 3)])
def test_of_two_limits_the_tighter_one_counts(
    name: str, one: int, other: int, tighter: int
) -> None:
    both = Limits(**{name: one}).within(Limits(**{name: other}))
    assert asdict(both) == {**asdict(Limits()), name: tighter}


@pytest.mark.parametrize("name", NAMES)
def test_no_limit_is_the_loosest_one(name: str) -> None:
    limited = Limits(**{name: 5})
    assert limited.within(Limits()) == limited == Limits().within(limited)


def test_each_field_is_compared_on_its_own() -> None:
    agent = Limits(deadline=60, tokens=1_000, stages=3)
    call = Limits(tokens=500, cost=2.5, stages=8, concurrency=4)
    assert agent.within(call) == Limits(deadline=60, tokens=500, cost=2.5, stages=3, concurrency=4)


bounds = st.none() | st.integers(1, 9)
limits = st.builds(
    Limits,
    deadline=bounds,
    tokens=bounds,
    cost=bounds,
    stages=bounds,
    executions=bounds,
    concurrency=bounds,
)


@given(limits, limits, limits)
def test_the_order_of_limits_does_not_matter(a: Limits, b: Limits, c: Limits) -> None:
    assert a.within(b) == b.within(a)
    assert a.within(b).within(c) == a.within(b.within(c))
    assert a.within(a) == a


def test_prices_are_those_of_a_million_tokens() -> None:
    assert Prices(prompt=3.0, completion=15.0).cost(1_000_000, 2_000_000) == 33.0


def test_cached_prompt_tokens_have_a_price_of_their_own() -> None:
    assert Prices(prompt=3.0, completion=15.0, cached=0.3).cost(2_000_000, 0, 1_000_000) == 3.3
    assert Prices(prompt=3.0, completion=15.0, cached=0.0).cost(2_000_000, 0, 1_000_000) == 3.0


def test_without_a_price_cached_tokens_cost_as_much_as_others() -> None:
    assert Prices(prompt=3.0, completion=15.0).cost(2_000_000, 0, 1_000_000) == 6.0


def test_cached_tokens_are_none_unless_they_are_given() -> None:
    assert Prices(prompt=1.0, completion=1.0, cached=0.0).cost(1_000_000, 0) == 1.0
