"""Packing: components into stages, each with its plan and its executions, in the order of the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from curate.graph import stages
from curate.trajectory import Annotated, Component


@dataclass(frozen=True, slots=True)
class Packed:
    """A trajectory's components, stage by stage."""

    annotated: Annotated
    stages: tuple[tuple[Component, ...], ...]

    @property
    def executions_ratio(self) -> float:
        """Executions by stages: the parallelization ratio of the authors' code."""
        return sum(bool(c.execution) for stage in self.stages for c in stage) / len(self.stages)

    @property
    def steps_ratio(self) -> float:
        """Steps by stages: the parallelization ratio of the paper."""
        return sum(len(stage) for stage in self.stages) / len(self.stages)


def pack(annotated: Annotated, *, shortest_execution: int = 3) -> Packed:
    """Packs a trajectory.

    An execution of fewer than `shortest_execution` lines is not worth handing on: it joins its plan.
    """
    components = [_merge_short(c, shortest_execution) for c in annotated.components]
    numbers = stages(components)
    grouped: list[list[Component]] = [[] for _ in range(max(numbers.values()))]
    for component in components:
        grouped[numbers[component.number] - 1].append(component)
    return Packed(annotated, tuple(tuple(stage) for stage in grouped))


def _merge_short(component: Component, shortest: int) -> Component:
    if not component.execution or len(component.execution.splitlines()) >= shortest:
        return component
    plan = component.plan + component.execution
    return replace(component, plan=plan, prompt="", execution="")


def select(
    packed: Sequence[Packed], *, least_ratio: float = 1.5, most_stages: int = 11
) -> list[Packed]:
    """Those that are parallel enough, and short enough in stages, to learn from (the paper's bounds)."""
    return [p for p in packed if p.executions_ratio >= least_ratio and len(p.stages) <= most_stages]
