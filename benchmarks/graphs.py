"""Packs dependency graphs of real reasoning, and checks that packing keeps its promises.

The graphs are lines of JSON. `nodes` are the sentences of a response, each a length in characters and a
label, and `edges` lead from a node to one that needs it: numbers in `nodes`, and a label.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import networkx as nx

from curate.pack.stages import Packed, pack
from curate.render import with_notes
from curate.trajectory import Annotated, Component, Trajectory
from sprint_agent.protocol.transcript import parse

_THINKS = frozenset({"planning", "reflection", "restatement", "assumption"})
"""The labels of sentences that decide what to do. All others are work."""


@dataclass(frozen=True, slots=True)
class GraphReport:
    """How graphs were packed."""

    graphs: int
    components: int
    stages: int
    executions: int
    least_stages: int
    """The fewest stages that the dependencies allow."""
    critical_path: float
    """Characters on the longest path through the dependencies, divided by all characters. The mean."""
    broken: tuple[str, ...]
    """The promises that were broken, and in which graph."""


def read(path: Path) -> Iterator[Annotated]:
    """Yields the graphs in a file, one component for each sentence."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            graph: dict[str, Any] = json.loads(line)
            yield annotated(graph["nodes"], graph["edges"])


def annotated(nodes: Sequence[Any], edges: Sequence[Any]) -> Annotated:
    """Returns a graph as an annotated trajectory. Its text is made up, with the lengths of the nodes."""
    parents: list[set[int]] = [set() for _ in nodes]
    for start, end, *_ in edges:
        parents[end].add(start + 1)
    made: list[Component] = []
    for number, ((length, label), needs) in enumerate(zip(nodes, parents, strict=True), 1):
        text = f"Sentence {number} {'x' * max(1, length - len(str(number)) - 12)}.\n"
        works = label not in _THINKS
        made.append(
            Component(
                number,
                plan="" if works else text,
                prompt=f"task {number}" if works else "",
                execution=text if works else "",
                parents=frozenset(needs),
            )
        )
    whole = "".join(c.plan + c.execution for c in made)
    return Annotated(Trajectory("What?", whole, "7"), tuple(made))


def by_paragraph(given: Annotated) -> Annotated:
    """Returns the graph with several sentences in a component, as annotators divide text.

    A component begins where sentences of planning begin, and needs all that its sentences need.
    """
    groups: list[list[Component]] = []
    for component in given.components:
        begins = not groups or (component.plan and groups[-1][-1].execution)
        groups += [[component]] if begins else []
        if not begins:
            groups[-1].append(component)
    of = {c.number: number for number, group in enumerate(groups, 1) for c in group}
    made: list[Component] = []
    for number, group in enumerate(groups, 1):
        needs = {of[parent] for component in group for parent in component.parents} - {number}
        execution = "".join(c.execution for c in group)
        made.append(
            Component(
                number,
                plan="".join(c.plan for c in group),
                prompt=f"task {number}" if execution else "",
                execution=execution,
                parents=frozenset(needs),
            )
        )
    return replace(given, components=tuple(made))


def broken_promises(packed: Packed) -> list[str]:
    """Returns what packing should never do, and did with this trajectory.

    A component is never before or beside a component whose execution it needs, nor before one whose plan
    it needs. No text is lost, doubled or out of order in its component, and the run can be read back.
    """
    problems: list[str] = []
    at: dict[int, tuple[int, int]] = {}
    executes: dict[int, bool] = {}
    for stage, members in enumerate(packed.stages):
        for position, component in enumerate(members):
            at[component.number] = (stage, position)
            executes[component.number] = bool(component.execution)
    for component in packed.annotated.components:
        for parent in component.parents:
            before, here = at[parent], at[component.number]
            if before[0] >= here[0] if executes[parent] else before >= here:
                problems.append(f"{component.number} is not after {parent}, which it needs")
    given = Counter(_text(c) for c in packed.annotated.components)
    if given != Counter(_text(c) for stage in packed.stages for c in stage):
        problems.append("a component was lost, doubled or changed")
    run = with_notes(packed)
    lines = Counter(packed.annotated.trajectory.text.splitlines())
    if lines - Counter(run.text.splitlines()):
        problems.append("a line of the text is not in the run")
    if parse(run.text).text != run.text:
        problems.append("the run cannot be read back")
    return problems


def measure(graphs: Iterator[Annotated], *, shortest_execution: int) -> GraphReport:
    """Returns how the graphs are packed."""
    count = components = stages = executions = least = 0
    paths: list[float] = []
    broken: list[str] = []
    for given in graphs:
        packed = pack(given, shortest_execution=shortest_execution)
        count += 1
        components += len(given.components)
        stages += len(packed.stages)
        members = [c for stage in packed.stages for c in stage]
        executions += sum(bool(c.execution) for c in members)
        least += _longest_chain(sorted(members, key=_number))
        paths.append(_critical_path(given.components) / len(given.trajectory.text))
        broken += [f"graph {count}: {problem}" for problem in broken_promises(packed)]
    path = sum(paths) / max(1, count)
    return GraphReport(count, components, stages, executions, least, path, tuple(broken))


def _longest_chain(components: Sequence[Component]) -> int:
    """Returns the fewest stages: one more than the executions before the end of a chain of needs."""
    graph: nx.DiGraph = nx.DiGraph()
    for component in components:
        graph.add_node(component.number)
        for parent in component.parents:
            graph.add_edge(
                parent, component.number, waits=int(bool(components[parent - 1].execution))
            )
    return 1 + nx.dag_longest_path_length(graph, "waits") if components else 0


def _critical_path(components: Sequence[Component]) -> int:
    ends: dict[int, int] = {}
    for component in components:
        begins = max((ends[parent] for parent in component.parents), default=0)
        ends[component.number] = begins + len(_text(component))
    return max(ends.values(), default=0)


def _text(component: Component) -> str:
    return component.plan + component.execution + component.comment


def _number(component: Component) -> int:
    return component.number
