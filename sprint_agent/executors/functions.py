"""Functions as executors: `@executor` for one argument, `@tool` for named ones in JSON."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from inspect import Parameter
from typing import Any, overload

from sprint_agent.executors.json_prompts import JsonArguments, JsonPrompt
from sprint_agent.executors.policy import Policy, with_policy
from sprint_agent.executors.threads import in_thread
from sprint_agent.task import Executor, JsonSchema, Task

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class FunctionExecutor:
    """An async function of a task as an executor; what else it returns than text is a failure."""

    name: str
    description: str
    function: Callable[[Task], Awaitable[str]]
    schema: JsonSchema | None = None

    async def execute(self, task: Task) -> str:
        return await self.function(task)


@overload
def executor(function: Function, /) -> FunctionExecutor: ...


@overload
def executor(*, policy: Policy) -> Callable[[Function], Executor]: ...


def executor(
    function: Function | None = None, /, *, policy: Policy | None = None
) -> Executor | Callable[[Function], Executor]:
    """Makes an executor of a function; its name and docstring become the executor's.

    The function takes one argument: the prompt's text (`str`, or not annotated), the task (`Task`),
    or what the prompt is as JSON (any other type, read by pydantic; where that fails, the failed
    execution tells the planner what to mend). It returns text. A function that is not async runs in
    a thread, which is left where it is cancelled: see `sprint_agent.executors.threads`.

    Raises TypeError for a function that does not take just one argument, or cannot be read.
    """
    return _decorate(_one_argument, function, policy)


@overload
def tool(function: Function, /) -> FunctionExecutor: ...


@overload
def tool(*, policy: Policy) -> Callable[[Function], Executor]: ...


def tool(
    function: Function | None = None, /, *, policy: Policy | None = None
) -> Executor | Callable[[Function], Executor]:
    """Makes an executor of a function whose prompts are a JSON object of its arguments.

    The object's schema comes from the parameters (pydantic reads their types, defaults and
    `Annotated[…, Field(description=…)]`); a parameter annotated as `Task` gets the task and is not
    in it. A prompt that does not fit fails, and tells the planner what to mend. Otherwise as
    `executor`.

    Raises TypeError for parameters that have no names (`*args`), or types that pydantic cannot read.
    """
    return _decorate(_named_arguments, function, policy)


def _decorate(
    make: Callable[[Function], FunctionExecutor], function: Function | None, policy: Policy | None
) -> Executor | Callable[[Function], Executor]:
    def decorate(function: Function) -> Executor:
        made = make(function)
        return made if policy is None else with_policy(made, policy)

    return decorate if function is None else decorate(function)


def _one_argument(function: Function) -> FunctionExecutor:
    name = _name(function)
    parameters = _parameters(function)
    if len(parameters) != 1:
        raise TypeError(
            f"@executor needs a function of one argument, {name} takes {len(parameters)}: "
            "use @tool for several"
        )
    (kind,) = parameters.values()
    call = _awaitable(function)
    if kind is Task:
        return FunctionExecutor(name, _description(function), call)
    if kind is str:

        async def with_text(task: Task) -> str:
            return await call(task.prompt)

        return FunctionExecutor(name, _description(function), with_text)
    prompt = JsonPrompt(kind, name)

    async def with_value(task: Task) -> str:
        return await call(prompt.read(task.prompt))

    return FunctionExecutor(name, _description(function), with_value, prompt.schema)


def _named_arguments(function: Function) -> FunctionExecutor:
    name = _name(function)
    parameters = _parameters(function)
    signature = inspect.signature(function)
    call = _awaitable(function)
    fields = {
        key: (kind, signature.parameters[key].default)
        for key, kind in parameters.items()
        if kind is not Task
    }
    prompt = JsonArguments(fields, name)

    async def with_arguments(task: Task) -> str:
        read = prompt.read(task.prompt)
        bound = signature.bind_partial()
        # In the order of the parameters, which is what tells positional ones apart.
        bound.arguments.update({key: read.get(key, task) for key in parameters})
        return await call(*bound.args, **bound.kwargs)

    return FunctionExecutor(name, _description(function), with_arguments, prompt.schema)


def _parameters(function: Function) -> dict[str, Any]:
    """The type of each parameter, by its name; `str` where none is written."""
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError:
        # A type that is known to the type checker alone, or inside of a function.
        signature = inspect.signature(function)
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in signature.parameters.values()):
        raise TypeError(f"an executor's arguments have names, and {_name(function)} takes *args")
    return {key: _kind(function, p) for key, p in signature.parameters.items()}


def _kind(function: Function, parameter: Parameter) -> Any:
    kind: object = parameter.annotation
    if kind is Parameter.empty:
        return str
    if isinstance(kind, str):
        known = {"str": str, "Task": Task}
        if kind not in known:
            raise TypeError(
                f"{_name(function)}: the type {kind!r} cannot be found: define it, or import it, "
                "where its module is read"
            )
        return known[kind]
    return kind


def _awaitable(function: Function) -> Callable[..., Awaitable[Any]]:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"an executor returns its text, and {_name(function)} yields")
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        type(function).__call__
    ):
        return function

    async def threaded(*args: Any, **keywords: Any) -> Any:
        return await in_thread(partial(function, *args, **keywords))

    return threaded


def _name(function: Function) -> str:
    return getattr(function, "__name__", "executor")


def _description(function: Function) -> str:
    return inspect.getdoc(function) or ""
