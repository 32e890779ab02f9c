"""Executors: who works on a prompt. The model itself by default, or a tool, or any coroutine.

    @executor
    async def search(prompt: str) -> str:
        '''Looks something up.'''
        ...

    Sprint(engine, executors=[search])

The planner writes `<prompt_1.2 executor="search"> … </prompt_1.2>` for it; a prompt without a name
goes to the model.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sprint_agent.context import Snapshot
from sprint_agent.engines.base import ExecutorCard, FinishReason, Sampling

MODEL = "model"


@dataclass(frozen=True, slots=True)
class Generated:
    """What the model wrote for an executor: text, and the ids that it sampled."""

    text: str
    ids: tuple[int, ...]
    reason: FinishReason


class Generate(Protocol):
    """Calls the run's model; see `Task.generate`."""

    async def __call__(
        self, context: Snapshot, sampling: Sampling | None, stop: tuple[str, ...]
    ) -> Generated: ...


@dataclass(frozen=True, slots=True)
class Task:
    """One prompt, as its executor gets it.

    `context` is what the planner had written up to the end of this prompt, and the opening tag of
    its execution; the siblings' executions are not in it.
    """

    prompt: str
    stage: int
    number: int
    context: Snapshot
    call: Generate

    async def generate(
        self,
        context: Snapshot | None = None,
        *,
        sampling: Sampling | None = None,
        stop: tuple[str, ...] = (),
    ) -> Generated:
        """Lets the run's model go on from `context` (the task's own, by default).

        What it costs counts as this execution's. Raises EngineError as the engine does.
        """
        return await self.call(context or self.context, sampling, stop)


@runtime_checkable
class Executor(Protocol):
    """Works on prompts. Whatever `execute` raises becomes a failed execution, never an error."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    async def execute(self, task: Task) -> str | Generated: ...


@dataclass(frozen=True, slots=True)
class FunctionExecutor:
    """An async function as an executor."""

    name: str
    description: str
    function: Callable[[Task], Awaitable[str]]

    async def execute(self, task: Task) -> str:
        return await self.function(task)


def executor(function: Callable[..., Awaitable[str]]) -> FunctionExecutor:
    """Makes an executor of an async function; its name and docstring become the executor's.

    The function takes the prompt's text or, where its parameter is annotated as `Task`, the task.
    Raises TypeError for a function that is not async or does not take just one argument.
    """
    name = getattr(function, "__name__", "executor")
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"@executor needs an async function, and {name} is none: write `async def`")
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) != 1:
        raise TypeError(f"@executor needs a function of one argument, {name} takes {parameters}")
    description = inspect.getdoc(function) or ""
    if parameters[0].annotation in (Task, "Task"):
        return FunctionExecutor(name, description, function)

    async def with_prompt(task: Task) -> str:
        return await function(task.prompt)

    return FunctionExecutor(name, description, with_prompt)


@dataclass(frozen=True, slots=True)
class ModelExecutor:
    """The model as executor: it goes on writing behind the opening tag of the execution."""

    name: str = MODEL
    description: str = "the model itself, thinking"

    async def execute(self, task: Task) -> Generated:
        return await task.generate()


class Routing:
    """Which executor takes a prompt, by the name that the planner wrote."""

    def __init__(self, executors: Sequence[Executor]) -> None:
        by_name: dict[str, Executor] = {MODEL: ModelExecutor()}
        for given in executors:
            if given.name in by_name and given.name != MODEL:
                raise ValueError(f"two executors are named {given.name!r}: give each its own name")
            by_name[given.name] = given
        self.executors: Mapping[str, Executor] = by_name

    @property
    def cards(self) -> tuple[ExecutorCard, ...]:
        """What a planner that was not trained is told of the executors beside the model."""
        others = (e for name, e in self.executors.items() if name != MODEL)
        return tuple(ExecutorCard(e.name, e.description) for e in others)

    def name(self, written: str | None) -> str:
        """The name under which a prompt is reported; `written` is what stands in its tag."""
        return written or MODEL

    def find(self, name: str | None) -> Executor:
        """The executor of that name, the model's without one. Raises LookupError where none is."""
        found = self.executors.get(name or MODEL)
        if found is None:
            known = ", ".join(sorted(self.executors))
            raise LookupError(f"there is no executor named {name!r}; there are: {known}")
        return found
