"""The graph of a trajectory's components, and their stages (section 4 of the paper).

The stage of a component without parents is 1. Otherwise it is the maximum over its parents p of
stage(p) + [p has an execution]: a component that needs an execution must be in a later stage, and one
that needs only a plan can be in the same stage.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import networkx as nx

from curate.trajectory import Component

Graph = nx.DiGraph


def build(components: Sequence[Component]) -> Graph:
    """Returns the graph with an edge from each parent, without the edges that others imply.

    The nodes are the numbers of the components. Each has its component as the attribute `component`.

    Raises:
        ValueError: if a parent is missing, or is not an earlier component.
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
    """Returns the stage of each component by the component's number. Stages are counted from 1.

    Raises:
        ValueError: if a parent is missing, or is not an earlier component.
    """
    executes = {c.number: bool(c.execution) for c in components}
    stage: dict[int, int] = {}
    for component in components:
        _check(component, stage)
        earliest = [stage[parent] + executes[parent] for parent in component.parents]
        stage[component.number] = max(earliest, default=1)
    return stage


def _check(component: Component, known: Container[int]) -> None:
    for parent in component.parents:
        if parent not in known or parent >= component.number:
            raise ValueError(f"component {component.number} needs {parent}, which is not before it")
