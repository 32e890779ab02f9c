"""The leak check: whether components that would run at the same time are really independent.

Executors of one stage do not see each other. If a component uses a value that only a sibling found,
then the annotation is wrong: the component's executor would have to invent the value. Models trained on
such data learn to invent things. So `leak_free.py` adds the missing edge, which moves the component to
a later stage.

A component may use what the question says, what earlier stages contain, what the plan of its stage
says before it, and what it finds itself. A sibling's finding is a value that the sibling's execution,
or the comment on it, produces first. A comment is written into the plan of the next stage, so it may
use everything that was found before that plan.

The check compares numbers, names and formulas. A model can be asked for leaks that these do not show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from curate.pack.names import SYMBOL
from curate.pack.values import ValueReader
from curate.trajectory import Component


@dataclass(frozen=True, slots=True)
class Leak:
    """A component uses a value that only another one found, in the same stage or a later one."""

    component: int
    """The number of the component that uses the value."""
    of: int
    """The number of the component that found it."""
    value: str
    """The value, as the component that uses it writes it."""


def find(
    question: str, stages: Sequence[Sequence[Component]], reader: ValueReader | None = None
) -> tuple[Leak, ...]:
    """Returns the leaks, stage by stage, and at most one for each pair of components.

    A component that is earlier in the text may be in a later stage. Using its findings is a leak as
    well.

    Args:
        reader: what has read the texts before, if they are searched again.
    """
    return _Check(question, reader or ValueReader()).leaks(stages)


def with_edges(components: Iterable[Component], leaks: Iterable[Leak]) -> tuple[Component, ...]:
    """Returns the components with an additional edge for each leak."""
    needs: dict[int, set[int]] = {}
    for leak in leaks:
        needs.setdefault(leak.component, set()).add(leak.of)
    return tuple(
        replace(component, parents=component.parents | needs.get(component.number, set()))
        for component in components
    )


class _Check:
    """Goes through the stages, and keeps what the planner knows."""

    def __init__(self, question: str, reader: ValueReader) -> None:
        self._reader = reader
        self._known = reader.keys(question)

    def leaks(self, stages: Sequence[Sequence[Component]]) -> tuple[Leak, ...]:
        """Returns the leaks of all stages."""
        found: dict[tuple[int, int], Leak] = {}
        for at, stage in enumerate(stages):
            later = [component for next_stage in stages[at + 1 :] for component in next_stage]
            leaks = self._in_stage(stage, later, set(self._known))
            for component in stage:
                self._known |= self._reader.keys(
                    component.plan, component.prompt, component.execution
                )
            for leak in [*leaks, *self._in_comments(stage, later)]:
                found.setdefault((leak.component, leak.of), leak)
            self._known |= self._reader.keys(*(component.comment for component in stage))
        return tuple(found.values())

    def _in_stage(
        self, stage: Sequence[Component], later: Sequence[Component], known: set[str]
    ) -> list[Leak]:
        """Returns the leaks in the plans, prompts and executions of a stage.

        Adds the values of its plans and prompts to `known`, except those that a sibling found before.
        """
        found: list[Leak] = []
        finder: dict[str, int] = {}
        here = {component.number for component in stage}
        last = max(here, default=0)
        for component in sorted([*stage, *later], key=lambda one: one.number):
            if component.number > last:
                break
            parts = [component.execution, component.comment]
            if component.number in here:
                found += self._used(component, known, finder)
                # The planner wrote these before any executor ran, so all later components see them.
                known |= self._reader.keys(component.plan, component.prompt) - finder.keys()
            else:
                parts.insert(0, component.plan)
            self._add_found(finder, component.number, parts, known)
        return found

    def _in_comments(self, stage: Sequence[Component], later: Sequence[Component]) -> list[Leak]:
        """Returns the leaks in the comments of a stage, which use what a later stage finds."""
        found: list[Leak] = []
        for component in stage:
            if not component.comment:
                continue
            finder: dict[str, int] = {}
            for other in later:
                if other.number < component.number:
                    parts = [other.plan, other.execution, other.comment]
                    self._add_found(finder, other.number, parts, self._known)
            # The planner writes a comment into its plan after the stage has ended, so it is checked as
            # one.
            shown = Component(component.number, plan=component.comment)
            found += self._used(shown, self._known, finder)
        return found

    def _add_found(
        self, finder: dict[str, int], number: int, parts: Sequence[str], known: set[str]
    ) -> None:
        for part in parts:
            for key in self._reader.found(part):
                if key not in known:
                    finder.setdefault(key, number)

    def _used(self, component: Component, known: set[str], finder: dict[str, int]) -> list[Leak]:
        """Returns the uses of values that a component does not know and has not produced before.

        Of the values that another component found, the first one is named.
        """
        parts = [self._reader.values(p) for p in (component.plan, component.execution)]
        # A symbol that a text defines anywhere is its own.
        own = {v.key for part in parts for v in part if v.produced and v.key.startswith(SYMBOL)}
        used: dict[int, str] = {}
        for part in (component.plan, component.prompt, component.execution):
            for value in self._reader.values(part):
                # A prompt produces nothing: the planner knew every value in it when writing it.
                produced = value.produced and part is not component.prompt
                of = finder.get(value.key)
                has_it = produced or value.key in known or value.key in own
                if of is not None and value.used and not has_it:
                    used.setdefault(of, value.shown)
                own.add(value.key)
        return [Leak(component.number, of, value) for of, value in sorted(used.items())]
