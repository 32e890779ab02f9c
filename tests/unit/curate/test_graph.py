"""The graph of components: the formula of the stages, and the reduction of the edges."""

from __future__ import annotations

import pytest

from curate.pack import graph
from curate.trajectory import Component


def component(number: int, *parents: int, executes: bool = False) -> Component:
    return Component(number, execution="x" if executes else "", parents=frozenset(parents))


def test_a_parent_with_an_execution_moves_its_child_to_the_next_stage() -> None:
    given = [
        component(1),
        component(2, 1, executes=True),
        component(3, 2),
        component(4, 3, executes=True),
        component(5, 1, 4),
        component(6, executes=True),
    ]
    assert graph.stages(given) == {1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 6: 1}


def test_no_components_have_no_stages() -> None:
    assert graph.stages([]) == {}
    assert len(graph.build([])) == 0


def test_an_implied_edge_is_left_out() -> None:
    built = graph.build([component(1), component(2, 1), component(3, 1, 2)])
    assert set(built.edges) == {(1, 2), (2, 3)}
    assert [built.nodes[n]["component"].number for n in (1, 2, 3)] == [1, 2, 3]


@pytest.mark.parametrize("parent", [0, 2, 3, 9])
def test_a_parent_must_be_an_earlier_component(parent: int) -> None:
    given = [component(1), component(2, parent), component(3)]
    for function in (graph.stages, graph.build):
        with pytest.raises(ValueError, match=f"component 2 needs {parent}, which is not before it"):
            function(given)
