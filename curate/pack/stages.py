"""Packs components into stages. Each stage has a plan and executions, in the order of the text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from curate.pack.graph import stages
from curate.pack.leaks import Leak
from curate.split.sentences import sentences
from curate.trajectory import Annotated, Component


@dataclass(frozen=True, slots=True)
class Packed:
    """A trajectory that is divided into stages."""

    annotated: Annotated
    stages: tuple[tuple[Component, ...], ...]
    """The components, stage by stage. Short executions have joined their plans."""
    leaks: tuple[Leak, ...] = ()
    """The leaks that the leak check found, each of which added an edge."""


def pack(annotated: Annotated, *, shortest_execution: int = 3) -> Packed:
    """Packs a trajectory, without a check for leaks.

    An execution of fewer than `shortest_execution` sentences is too short for an executor, so it joins
    its plan. (The paper merges executions of fewer than 3 lines, and its authors' code those of up to
    3.)

    Raises:
        ValueError: if a parent of a component is missing, or is not an earlier component.
    """
    return Packed(annotated, packed_stages(annotated.components, shortest_execution))


def packed_stages(
    components: Sequence[Component], shortest_execution: int
) -> tuple[tuple[Component, ...], ...]:
    """Returns the stages into which `pack` divides a trajectory of these components."""
    return grouped(merge_short(components, shortest_execution))


def merge_short(components: Iterable[Component], shortest: int) -> tuple[Component, ...]:
    """Returns the components. If an execution is too short, it and its comment join the plan."""
    return tuple(
        component
        if component.execution and len(sentences(component.execution)) >= shortest
        else _plan_only(component)
        for component in components
    )


def grouped(components: Sequence[Component]) -> tuple[tuple[Component, ...], ...]:
    """Returns the components of each stage, by the graph of their parents."""
    numbers = stages(components)
    grouped: list[list[Component]] = [[] for _ in range(max(numbers.values(), default=0))]
    for component in components:
        grouped[numbers[component.number] - 1].append(component)
    return tuple(tuple(stage) for stage in grouped)


def _plan_only(component: Component) -> Component:
    plan = component.plan + component.execution + component.comment
    return replace(component, plan=plan, prompt="", execution="", comment="")
