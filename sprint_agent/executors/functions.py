"""Makes executors of functions: `@executor` reads a prompt as the function's parameters say."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from inspect import Parameter
from typing import Generic, ParamSpec, TypeVar, overload

from sprint_agent.executors.json_prompts import JsonArguments, JsonPrompt
from sprint_agent.executors.policy import Policy, with_policy
from sprint_agent.executors.threads import in_thread
from sprint_agent.task import (
    RESULT_CHARACTERS,
    Generation,
    JsonSchema,
    Task,
    result_characters,
    text_of,
)

P = ParamSpec("P")
R = TypeVar("R")
"""The return type of the function: text, what JSON can express, or an awaitable of one."""

_Execute = Callable[[Task], Awaitable[str | Generation]]
_Call = Callable[..., Awaitable[str | Generation]]
_Function = Callable[..., object]


@dataclass(frozen=True, slots=True)
class FunctionExecutor(Generic[P, R]):
    """A function as an executor. `executor` makes them.

    Calling it calls the function itself, so that its tests need neither a run nor a prompt. A
    function that is not async returns its text directly. The policy applies to `execute` alone.
    """

    name: str
    """The name of the function."""
    description: str
    """The docstring of the function."""
    function: Callable[P, R]
    run: _Execute
    """Reads a task's prompt, calls the function and returns its text, under the policy if any."""
    schema: JsonSchema | None = None
    """The JSON schema of the prompts, or None if they are plain text."""
    max_characters: int = RESULT_CHARACTERS
    """After how many characters a result is cut. The policy sets it."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function with these arguments, without a prompt and without the policy."""
        return self.function(*args, **kwargs)

    async def execute(self, task: Task) -> str | Generation:
        """Calls the function with what the task's prompt contains, and returns its text.

        Raises:
            PromptError: the prompt does not match `schema`. The message tells the planner how to
                correct it.
        """
        return await self.run(task)


@overload
def executor(function: Callable[P, R], /) -> FunctionExecutor[P, R]: ...


@overload
def executor(*, policy: Policy) -> Callable[[Callable[P, R]], FunctionExecutor[P, R]]: ...


def executor(
    function: Callable[P, R] | None = None, /, *, policy: Policy | None = None
) -> FunctionExecutor[P, R] | Callable[[Callable[P, R]], FunctionExecutor[P, R]]:
    """Makes an executor of a function, with the name and the docstring of the function.

    The parameters decide what a prompt is:

    * One parameter that is a `str`, or has no annotation: the prompt's text.
    * One parameter of the type `Task`: the task. The prompt is plain text.
    * One parameter of any other type: JSON of that type.
    * Several parameters, keyword-only ones, or none: a JSON object of the arguments. A parameter of
      the type `Task` gets the task and is not part of the object.

    pydantic reads the JSON and makes the `schema` from the types, the defaults and
    `Annotated[…, Field(description=…)]`. A prompt that does not match the schema fails its
    execution, and the message tells the planner how to correct it.

    The function returns a string. Anything else becomes JSON: numbers, lists, dictionaries, None,
    dataclasses, models of pydantic, structs of msgspec.

    A function that is not async runs in a worker thread, which is abandoned when the execution is
    cancelled: see `sprint_agent.executors.threads`.

    The result can still be called like the function.

    Raises:
        TypeError: the function is a generator or an unbound method, it takes `*args` or `**kwargs`,
            or pydantic cannot read the type of a parameter.
        ImportError: the prompts are JSON, and pydantic is not installed.
    """

    def decorate(function: Callable[P, R]) -> FunctionExecutor[P, R]:
        made = _executor_of(function)
        if policy is None:
            return made
        under = with_policy(made, policy)
        return replace(made, run=under.execute, max_characters=result_characters(under))

    return decorate if function is None else decorate(function)


tool = executor
"""An alias of `executor`, for code that calls such functions tools."""


def _executor_of(function: Callable[P, R]) -> FunctionExecutor[P, R]:
    run, schema = _runner(function)
    return FunctionExecutor(_name(function), inspect.getdoc(function) or "", function, run, schema)


def _runner(function: _Function) -> tuple[_Execute, JsonSchema | None]:
    """Returns what calls the function for a task, and the schema of the prompts."""
    name = _name(function)
    call = _awaitable(function)
    parameters = inspect.signature(function).parameters
    types = _types(function, parameters)
    if len(parameters) != 1 or _keyword_only(parameters):
        arguments = JsonArguments(_fields(parameters, types), name)
        return _with_arguments(call, arguments, function, types), arguments.schema
    (kind,) = types.values()
    if kind is Task:
        return call, None
    if kind is str:
        return (lambda task: call(task.prompt)), None
    prompt = JsonPrompt(kind, name)

    async def with_value(task: Task) -> str | Generation:
        return await call(prompt.read(task.prompt))

    return with_value, prompt.schema


def _with_arguments(
    call: _Call,
    arguments: JsonArguments,
    function: Callable[..., object],
    names: Mapping[str, object],
) -> _Execute:
    signature = inspect.signature(function)

    async def with_arguments(task: Task) -> str | Generation:
        values = arguments.read(task.prompt)
        bound = signature.bind_partial()
        # In the order of the parameters: positional arguments are told apart by their order alone.
        bound.arguments.update({name: values.get(name, task) for name in names})
        return await call(*bound.args, **bound.kwargs)

    return with_arguments


def _keyword_only(parameters: Mapping[str, Parameter]) -> bool:
    return any(parameter.kind is Parameter.KEYWORD_ONLY for parameter in parameters.values())


def _fields(
    parameters: Mapping[str, Parameter], types: Mapping[str, object]
) -> dict[str, tuple[object, object]]:
    """Returns the type and the default of each argument that a prompt contains."""
    return {n: (kind, parameters[n].default) for n, kind in types.items() if kind is not Task}


def _types(
    function: Callable[..., object], parameters: Mapping[str, Parameter]
) -> dict[str, object]:
    """Returns the type of each parameter by its name, `str` if it has no annotation."""
    name = _name(function)
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values()):
        raise TypeError(
            f"{name} takes *args or **kwargs: give each parameter of an executor its own name"
        )
    if next(iter(parameters), None) == "self":
        raise TypeError(f"{name} is an unbound method: use executor(instance.{name})")
    # Only the type checker can resolve some annotations. `_type` knows the common ones by name.
    with contextlib.suppress(NameError):
        parameters = inspect.signature(function, eval_str=True).parameters
    return {key: _type(name, parameter.annotation) for key, parameter in parameters.items()}


def _type(name: str, annotation: object) -> object:
    if annotation is Parameter.empty:
        return str
    if isinstance(annotation, str):
        known = {"str": str, "Task": Task}
        if annotation not in known:
            raise TypeError(
                f"{name}: the type {annotation!r} cannot be found: define or import it at the top "
                "level of the module, outside `if TYPE_CHECKING`"
            )
        return known[annotation]
    return annotation


def _awaitable(function: _Function) -> _Call:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{_name(function)} is a generator: an executor must return a string")
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        type(function).__call__
    )

    async def call(*args: object, **kwargs: object) -> str | Generation:
        called = partial(function, *args, **kwargs)
        outcome = called() if is_async else await in_thread(called)
        if inspect.isawaitable(outcome):
            outcome = await outcome
        return outcome if isinstance(outcome, Generation) else text_of(outcome)

    return call


def _name(function: Callable[..., object]) -> str:
    return getattr(function, "__name__", "executor")
