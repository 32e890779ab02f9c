"""The graph of a trajectory's components, and the stages that it allows (the paper, section 4).

A component's stage is 1 without parents, else the maximum over its parents p of
stage(p) + [p has an execution]: what needs an execution must wait for the stage after it, what needs
only a plan can stand in the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
        for parent in component.parents:
            if parent not in graph or parent >= component.number:
                raise ValueError(f"component {component.number} needs {parent}, not before it")
            graph.add_edge(parent, component.number)
    reduced: Graph = nx.transitive_reduction(graph)
    reduced.add_nodes_from(graph.nodes(data=True))
    return reduced


def stages(components: Sequence[Component]) -> dict[int, int]:
    """The stage of each component, by number, from 1. Raises ValueError as `build` does."""
    build(components)
    executes = {c.number: bool(c.execution) for c in components}
    stage: dict[int, int] = {}
    for component in components:
        waits = [stage[parent] + executes[parent] for parent in component.parents]
        stage[component.number] = max(waits, default=1)
    return stage


def critical_path(graph: Graph, cost: Callable[[Component], int]) -> int:
    """The largest sum of `cost` along any path: the least that any schedule must wait for."""
    best: dict[int, int] = {}
    for number in nx.topological_sort(graph):
        before = max((best[parent] for parent in graph.predecessors(number)), default=0)
        best[number] = before + cost(graph.nodes[number]["component"])
    return max(best.values(), default=0)
