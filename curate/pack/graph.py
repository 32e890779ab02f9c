"""The graph of a trajectory's components, and the stages that it allows (the paper, section 4).

A component's stage is 1 without parents, else the maximum over its parents p of
stage(p) + [p has an execution]: what needs an execution must wait for the stage after it, what needs
only a plan can stand in the same one.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import networkx as nx

from curate.trajectory import Component

Graph = nx.DiGraph


def build(components: Sequence[Component]) -> Graph:
    """The graph, with an edge from each parent, reduced to the edges that are not implied.

    Raises ValueError where a parent is missing or does not stand before its child.
    """
    graph: Graph = nx.DiGraph()
    for component in components:
        graph.add_node(component.number, component=component)
        _check(component, graph)
        graph.add_edges_from((parent, component.number) for parent in component.parents)
    reduced: Graph = nx.transitive_reduction(graph)
    reduced.add_nodes_from(graph.nodes(data=True))
    return reduced


def stages(components: Sequence[Component]) -> dict[int, int]:
    """The stage of each component, by number, from 1. Raises ValueError as `build` does."""
    executes = {c.number: bool(c.execution) for c in components}
    stage: dict[int, int] = {}
    for component in components:
        _check(component, stage)
        waits = [stage[parent] + executes[parent] for parent in component.parents]
        stage[component.number] = max(waits, default=1)
    return stage


def _check(component: Component, known: Container[int]) -> None:
    for parent in component.parents:
        if parent not in known or parent >= component.number:
            raise ValueError(f"component {component.number} needs {parent}, not before it")
