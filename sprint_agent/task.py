"""The seam between a run and its executors: the Executor protocol, and the Task it works on."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import anyio
import msgspec

from sprint_agent.engine import FinishReason, Sampling
from sprint_agent.join import Join
from sprint_agent.limits import Limits
from sprint_agent.protocol.context import Snapshot
from sprint_agent.result import Result

JsonSchema = Mapping[str, Any]
"""A JSON schema as `json.loads` returns it."""

_LOGGER = logging.getLogger("sprint_agent.executors")


@dataclass(frozen=True, slots=True)
class Generation:
    """Text that the model wrote for an executor."""

    text: str
    ids: tuple[int, ...]
    """The token ids that were sampled. Empty if the engine has no tokenizer."""
    reason: FinishReason
    """Why the generation ended."""


RESULT_CHARACTERS = 32_000
"""The result of an executor is cut after this many characters, so that it cannot fill the context.

An executor with an attribute `max_characters` has its own bound. `Policy.max_characters` sets one.
"""


def result_characters(executor: object) -> int:
    """Returns after how many characters the results of an executor are cut."""
    bound = getattr(executor, "max_characters", None)
    return bound if isinstance(bound, int) else RESULT_CHARACTERS


def text_of(outcome: object) -> str:
    """Returns the text of an executor's return value, which is JSON if it is not a string.

    Dataclasses, models of pydantic and structs of msgspec become JSON objects.

    Raises:
        TypeError: the value is neither text nor can be written as JSON.
    """
    if isinstance(outcome, Generation):
        return outcome.text
    if isinstance(outcome, str):
        return outcome
    try:
        plain = msgspec.to_builtins(outcome, str_keys=True, enc_hook=_plain)
        return json.dumps(plain, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"the executor returned {type(outcome).__name__}, which cannot be written as JSON "
            f"({error}): return a string"
        ) from error


def _plain(value: object) -> object:
    """Returns a value that msgspec does not know as one that it does: a model of pydantic."""
    dump = getattr(value, "model_dump", None)
    if isinstance(value, type) or not callable(dump):
        raise TypeError(f"{type(value).__name__} is not known")
    return dump(mode="json")


@dataclass(frozen=True, slots=True)
class Remaining:
    """What an execution may still use."""

    seconds: float | None
    """Seconds until the nearest deadline, or None if there is no deadline."""
    tokens: int | None
    """Tokens that may still be generated, or None if they are not limited."""


@dataclass(frozen=True, slots=True)
class Nested:
    """The request to start a run inside an execution. See `Task.solve`."""

    question: str
    executors: Sequence[Executor]
    limits: Limits
    join: Join


class TaskLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the task to each message, and to the log record as `run`, `stage` and `number`."""

    def __init__(self, run: str, stage: int, number: int) -> None:
        super().__init__(_LOGGER, {"run": run, "stage": stage, "number": number})
        self._prefix = f"[{run} {stage}.{number}]"

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[str, MutableMapping[str, Any]]:
        """Adds the prefix to the message, and the task's fields to the caller's `extra`."""
        extra: Mapping[str, object] = kwargs.get("extra") or {}
        return f"{self._prefix} {msg}", {**kwargs, "extra": {**extra, **(self.extra or {})}}


class RunHandle(Protocol):
    """What a task may ask of its run. The methods of Task document it."""

    @property
    def tokens_left(self) -> int | None: ...

    async def generate(
        self, context: Snapshot, sampling: Sampling | None, stop: tuple[str, ...]
    ) -> Generation: ...

    async def solve(self, nested: Nested) -> Result: ...


@dataclass(frozen=True, slots=True)
class Task:
    """One prompt for an executor, with access to its run.

    Call the methods from the event loop. A function in a worker thread calls them through
    `anyio.from_thread.run`.
    """

    prompt: str
    """The text of the prompt."""
    stage: int
    """The number of the stage, from 1."""
    number: int
    """The number of the prompt within its stage, from 1."""
    context: Snapshot
    """Everything up to the end of this prompt, followed by the opening tag of its execution.

    The executions of the stage's other prompts are not part of it.
    """
    run: str
    """The name of the run."""
    handle: RunHandle

    @property
    def logger(self) -> TaskLogger:
        """A child of the logger `sprint_agent.executors` that adds the task to its messages."""
        return TaskLogger(self.run, self.stage, self.number)

    def remaining(self) -> Remaining:
        """Returns what is left at this moment.

        The seconds run until the run's deadline or a timeout around the task, whichever is sooner.
        The tokens are those of the run.
        """
        seconds = anyio.current_effective_deadline() - anyio.current_time()
        return Remaining(
            None if seconds == math.inf else max(0.0, seconds), self.handle.tokens_left
        )

    async def generate(
        self,
        context: Snapshot | None = None,
        *,
        sampling: Sampling | None = None,
        stop: tuple[str, ...] = (),
    ) -> Generation:
        """Lets the run's model continue from `context`, which is the task's own by default.

        The tokens count as usage of this execution.

        Raises:
            EngineError: the engine failed. Its subclasses say how.
        """
        return await self.handle.generate(context or self.context, sampling, stop)

    async def solve(
        self,
        question: str,
        *,
        executors: Sequence[Executor] = (),
        limits: Limits = Limits(),
        join: Join = "all",
    ) -> Result:
        """Solves `question` in a nested run inside this execution, with the same engine.

        The nested run has its own `limits`, and it also uses up those of this run: deadline, tokens
        and concurrency. While it runs, its executions use the concurrency slot of this execution.
        Its planner can call only `executors` and the model. Its usage counts as usage of this
        execution. The outer run reports its events as NestedEvent.

        If a limit ends the nested run, the result says which one.

        Raises:
            QuestionError: the question cannot be asked.
            EngineError: the engine failed.
            PlanError: the planner wrote a plan that cannot be run.
        """
        return await self.handle.solve(Nested(question, executors, limits, join))


@runtime_checkable
class Executor(Protocol):
    """Works on prompts."""

    @property
    def name(self) -> str:
        """The name that the planner writes in a prompt's tag."""
        ...

    @property
    def description(self) -> str:
        """What the executor does, for planners that were not trained to know it."""
        ...

    @property
    def schema(self) -> JsonSchema | None:
        """The JSON schema of its prompts, or None if they are plain text."""
        ...

    async def execute(self, task: Task) -> str | Generation:
        """Returns the text of the execution.

        Whatever this raises turns the execution into a failed one. It does not end the run.
        """
        ...
