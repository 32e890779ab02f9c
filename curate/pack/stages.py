"""Packing: components into stages, each with its plan and its executions, in the order of the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from curate.pack.graph import stages
from curate.pack.leaks import Leak
from curate.split.sentences import sentences
from curate.trajectory import Annotated, Component


@dataclass(frozen=True, slots=True)
class Packed:
    """A trajectory's components, stage by stage. `leaks` are the edges that the leak check added."""

    annotated: Annotated
    stages: tuple[tuple[Component, ...], ...]
    leaks: tuple[Leak, ...] = ()


def pack(annotated: Annotated, *, shortest_execution: int = 3) -> Packed:
    """Packs a trajectory.

    An execution of fewer than `shortest_execution` sentences is not worth handing on: it joins its
    plan. (The paper merges fewer than 3 lines, its authors' code up to 3.)
    Raises ValueError where a component's parent does not stand before it.
    """
    return Packed(annotated, packed_stages(annotated.components, shortest_execution))


def packed_stages(
    components: Sequence[Component], shortest_execution: int
) -> tuple[tuple[Component, ...], ...]:
    """The stages that `pack` gives a trajectory of these components."""
    merged = [_merge_short(component, shortest_execution) for component in components]
    numbers = stages(merged)
    grouped: list[list[Component]] = [[] for _ in range(max(numbers.values(), default=0))]
    for component in merged:
        grouped[numbers[component.number] - 1].append(component)
    return tuple(tuple(stage) for stage in grouped)


def _merge_short(component: Component, shortest: int) -> Component:
    """A component without an execution too short to be one; what remarks on it is thought as well."""
    if component.execution and len(sentences(component.execution)) >= shortest:
        return component
    plan = component.plan + component.execution + component.comment
    return replace(component, plan=plan, prompt="", execution="", comment="")
