"""Stages: the packing rule of the paper, and no text is lost."""

from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.pack import graph
from curate.pack.stages import pack
from curate.render import without_notes
from curate.trajectory import Annotated, Component, Trajectory


@st.composite
def components(draw: st.DrawFn) -> list[Component]:
    """A random graph of components, some of which execute."""
    made: list[Component] = []
    for number in range(1, draw(st.integers(1, 9)) + 1):
        parents = draw(st.frozensets(st.integers(1, number - 1))) if number > 1 else frozenset()
        executes = draw(st.booleans())
        lines = draw(st.integers(1, 5)) if executes else 0
        made.append(
            Component(
                number=number,
                plan=f"think {number}\n",
                prompt=f"task {number}" if executes else "",
                execution="".join(f"work {number}.{k}\n" for k in range(lines)),
                parents=parents,
            )
        )
    return made


class TestPacking:
    @settings(max_examples=300, deadline=None)
    @given(components())
    def test_stages_follow_the_formula(self, given: list[Component]) -> None:
        stages = graph.stages(given)
        by_number = {c.number: c for c in given}
        for component in given:
            waits = [stages[p] + bool(by_number[p].execution) for p in component.parents]
            assert stages[component.number] == max(waits, default=1)
            for parent in component.parents:
                if by_number[parent].execution:
                    assert stages[parent] < stages[component.number]

    @settings(max_examples=200, deadline=None)
    @given(components())
    def test_no_text_is_lost(self, given: list[Component]) -> None:
        annotated = Annotated(Trajectory("Q?", "", "1"), tuple(given))
        text = without_notes(pack(annotated), lambda _: None).text
        for component in given:
            lines = [*component.plan.splitlines(), *component.execution.splitlines()]
            assert all(line in text for line in lines)

    def test_short_executions_join_their_plan(self) -> None:
        short = Component(1, plan="a\n", prompt="p", execution="1\n2\n")
        (stage,) = pack(Annotated(Trajectory("Q?", "", "1"), (short,))).stages
        assert stage[0].plan == "a\n1\n2\n"
        assert (stage[0].prompt, stage[0].execution) == ("", "")

    @settings(max_examples=100, deadline=None)
    @given(components())
    def test_the_reduced_graph_reaches_the_same(self, given: list[Component]) -> None:
        reduced = graph.build(given)
        assert reduced.number_of_nodes() == len(given)
        depth: dict[int, int] = {}
        for component in given:
            depth[component.number] = 1 + max((depth[p] for p in component.parents), default=0)
        assert nx.dag_longest_path_length(reduced) + 1 == max(depth.values())

    def test_a_parent_must_come_before_its_child(self) -> None:
        with pytest.raises(ValueError, match="not before it"):
            graph.stages([Component(1, parents=frozenset({2})), Component(2)])
        with pytest.raises(ValueError, match="not before it"):
            graph.build([Component(1), Component(2, parents=frozenset({2}))])

    def test_stages_need_no_graph(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Each round of the leak check computes the stages again.
        monkeypatch.delattr(nx, "transitive_reduction")
        assert graph.stages([Component(1), Component(2, parents=frozenset({1}))]) == {1: 1, 2: 1}
