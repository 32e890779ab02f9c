"""The leak check: whether what would run at the same time is really independent.

Executors of one stage do not see each other. A component that uses a value which only a sibling found
was annotated wrongly: its executor would have to invent it. Models trained on such data learn to make
things up, so the missing edge is added, which moves the component to a later stage.

What a component may use: what the question says, what earlier stages hold, what the plan of its own
stage says before it, and what it comes to by itself. A sibling's finding is what its execution comes to
first, or the comment on it. A comment opens the plan of the next stage: it may use what was found by
then. Numbers, names and formulas are compared; a model can be asked for what they do not show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from curate.pack.values import values
from curate.trajectory import Component


@dataclass(frozen=True, slots=True)
class Leak:
    """Component `component` uses `value`, which only `of` found, in the same stage or a later one."""

    component: int
    of: int
    value: str


def find(question: str, stages: Sequence[Sequence[Component]]) -> tuple[Leak, ...]:
    """The leaks, stage by stage, one for each pair of components at most.

    What stands before in the text can have been packed into a later stage: that is a leak as well.
    """
    known = _keys(question)
    found: dict[tuple[int, int], Leak] = {}
    for at, stage in enumerate(stages):
        later = [component for behind in stages[at + 1 :] for component in behind]
        leaks = _in_stage(stage, later, set(known))
        for component in stage:
            known |= _keys(component.plan, component.prompt, component.execution)
        for leak in [*leaks, *_in_comments(stage, later, known)]:
            found.setdefault((leak.component, leak.of), leak)
        known |= _keys(*(component.comment for component in stage))
    return tuple(found.values())


def with_edges(components: Iterable[Component], leaks: Iterable[Leak]) -> tuple[Component, ...]:
    """The components, with an edge for each leak."""
    needs: dict[int, set[int]] = {}
    for leak in leaks:
        needs.setdefault(leak.component, set()).add(leak.of)
    return tuple(
        replace(component, parents=component.parents | needs.get(component.number, set()))
        for component in components
    )


def _in_stage(
    stage: Sequence[Component], later: Sequence[Component], known: set[str]
) -> list[Leak]:
    found: list[Leak] = []
    finder: dict[str, int] = {}
    here = {component.number for component in stage}
    for component in sorted([*stage, *later], key=lambda one: one.number):
        shown = component.execution + component.comment
        if component.number in here:
            found += _leaks(component, known, finder)
            # The planner wrote it before any of them ran, and who comes later sees it.
            known |= _keys(component.plan, component.prompt) - finder.keys()
        else:
            shown = component.plan + shown
        _add_found(finder, component.number, shown, known)
    return found


def _in_comments(
    stage: Sequence[Component], later: Sequence[Component], known: set[str]
) -> list[Leak]:
    found: list[Leak] = []
    for component in stage:
        finder: dict[str, int] = {}
        for other in later:
            if other.number < component.number:
                shown = other.plan + other.execution + other.comment
                _add_found(finder, other.number, shown, known)
        # It is thought, which the planner writes down when the stage has ended.
        found += _leaks(Component(component.number, plan=component.comment), known, finder)
    return found


def _add_found(finder: dict[str, int], number: int, shown: str, known: set[str]) -> None:
    for value in values(shown):
        if value.produced and value.key not in known:
            finder.setdefault(value.key, number)


def _leaks(component: Component, known: set[str], finder: dict[str, int]) -> list[Leak]:
    leaks = {of: value for value, of in reversed(_used(component, known, finder))}
    return [Leak(component.number, of, value) for of, value in sorted(leaks.items())]


def _used(component: Component, known: set[str], finder: dict[str, int]) -> list[tuple[str, int]]:
    """The values that a component uses before it comes to them, and who found them."""
    own: set[str] = set()
    used: list[tuple[str, int]] = []
    for part in (component.plan, component.prompt, component.execution):
        for value in values(part):
            # A prompt comes to nothing: what stands in it was known to whoever wrote it.
            produced = value.produced and part is not component.prompt
            if not produced and value.key in finder.keys() - known - own:
                used.append((value.shown, finder[value.key]))
            own.add(value.key)
    return used


def _keys(*texts: str) -> set[str]:
    return {value.key for text in texts for value in values(text)}
