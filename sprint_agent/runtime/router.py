"""Finds the executor of a prompt: the model itself, unless the planner names another one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sprint_agent.engine import ExecutorCard
from sprint_agent.task import Executor, Generation, Task

MODEL = "model"
_PARTS = ("name", "description", "schema", "execute")
_NAME = re.compile(r"[\w.\-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelExecutor:
    """The model as executor: it continues after the opening tag of the execution."""

    name: str = MODEL
    description: str = "the model itself, thinking"

    @property
    def schema(self) -> None:
        """None, because its prompts are plain text."""

    async def execute(self, task: Task) -> Generation:
        return await task.generate()


class Router:
    """Finds executors by the name that the planner writes.

    Raises:
        TypeError: An object is not an executor.
        ValueError: Two executors have the same name, or a tag cannot contain the name.
    """

    def __init__(self, executors: Sequence[Executor]) -> None:
        by_name: dict[str, Executor] = {}
        for given in executors:
            lacking = [part for part in _PARTS if not hasattr(given, part)]
            if lacking:
                raise TypeError(f"{given!r} is not an executor: it lacks {' and '.join(lacking)}")
            if _NAME.fullmatch(given.name) is None:
                raise ValueError(
                    f"a tag cannot contain the executor name {given.name!r}: use at most 64 ASCII "
                    "letters, digits and any of _ . -"
                )
            if given.name in by_name:
                raise ValueError(f"two executors are named {given.name!r}: give each its own name")
            by_name[given.name] = given
        self.executors: Mapping[str, Executor] = {MODEL: ModelExecutor(), **by_name}

    @property
    def cards(self) -> tuple[ExecutorCard, ...]:
        """What a planner that was not trained is told about the executors, without the model."""
        others = (e for name, e in self.executors.items() if name != MODEL)
        return tuple(ExecutorCard(e.name, e.description, e.schema) for e in others)

    def name(self, written: str | None) -> str:
        """Returns the name under which a prompt is reported. `written` is the name in its tag."""
        return written or MODEL

    def find(self, name: str | None) -> Executor:
        """Returns the executor of that name, the model without a name.

        Raises:
            LookupError: There is no executor of that name.
        """
        found = self.executors.get(name or MODEL)
        if found is None:
            known = ", ".join(sorted(self.executors))
            raise LookupError(f"there is no executor named {name!r}; there are: {known}")
        return found
