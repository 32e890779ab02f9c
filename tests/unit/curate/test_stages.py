"""Packing into stages: the order within a stage, and short executions."""

from __future__ import annotations

import pytest

from curate.pack.stages import pack, packed_stages
from curate.trajectory import Annotated, Component, Trajectory

LONG = "One. Two. Three."


def test_a_stage_has_its_components_in_the_order_of_the_text() -> None:
    given = (
        Component(1, prompt="a", execution=LONG),
        Component(2, prompt="b", execution=LONG, parents=frozenset({1})),
        Component(3, prompt="c", execution=LONG),
    )
    annotated = Annotated(Trajectory("What?", "", "7"), given)
    packed = pack(annotated)
    assert packed.annotated is annotated
    assert packed.leaks == ()
    assert packed.stages == ((given[0], given[2]), (given[1],))


def test_no_components_make_no_stages() -> None:
    assert packed_stages((), 3) == ()


@pytest.mark.parametrize(("shortest", "stages"), [(3, 2), (4, 1)])
def test_a_short_execution_joins_its_plan_and_needs_no_stage(shortest: int, stages: int) -> None:
    given = (
        Component(1, plan="P. ", prompt="a", execution=LONG, comment=" C."),
        Component(2, prompt="b", execution=f"{LONG} Four.", parents=frozenset({1})),
    )
    packed = packed_stages(given, shortest)
    assert len(packed) == stages
    first = packed[0][0]
    if shortest == 4:
        assert first == Component(1, plan=f"P. {LONG} C.")
    else:
        assert first is given[0]


def test_a_comment_without_an_execution_joins_the_plan() -> None:
    (stage,) = packed_stages([Component(1, plan="P. ", comment="C.")], 3)
    assert stage == (Component(1, plan="P. C."),)
