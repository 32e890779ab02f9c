"""What an executor is, and what it gets: a Task."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import anyio

from sprint_agent.engine import FinishReason, Sampling
from sprint_agent.join import Join
from sprint_agent.limits import Limits
from sprint_agent.protocol.context import Snapshot
from sprint_agent.result import Result

JsonSchema = Mapping[str, Any]
"""A JSON schema as Python's json module reads it."""

_LOGGER = logging.getLogger("sprint_agent.executors")


@dataclass(frozen=True, slots=True)
class Generation:
    """What the model wrote for an executor: text, and the ids that it sampled."""

    text: str
    ids: tuple[int, ...]
    reason: FinishReason


def text_of(outcome: object) -> str:
    """The text of what an executor returned. Raises TypeError where that is none."""
    if isinstance(outcome, Generation):
        return outcome.text
    if not isinstance(outcome, str):
        raise TypeError(f"the executor returned {type(outcome).__name__}, not text")
    return outcome


@dataclass(frozen=True, slots=True)
class Remaining:
    """What an execution may still use: `seconds`, and `tokens` to generate. None is no bound."""

    seconds: float | None
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Nested:
    """A run that is to be made inside an execution; see `Task.solve`."""

    question: str
    executors: Sequence[Executor]
    limits: Limits
    join: Join


class TaskLogger(logging.LoggerAdapter[logging.Logger]):
    """Names the task in each message, and in the record's `run`, `stage` and `number`."""

    def __init__(self, run: str, stage: int, number: int) -> None:
        super().__init__(_LOGGER, {"run": run, "stage": stage, "number": number})
        self._prefix = f"[{run} {stage}.{number}]"

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[str, MutableMapping[str, Any]]:
        """The message and its record's fields, the task's beside the caller's own."""
        given: Mapping[str, object] = kwargs.get("extra") or {}
        return f"{self._prefix} {msg}", {**kwargs, "extra": {**given, **(self.extra or {})}}


class RunHandle(Protocol):
    """What a task asks of its run; see the methods of Task."""

    @property
    def tokens_left(self) -> int | None: ...

    async def generate(
        self, context: Snapshot, sampling: Sampling | None, stop: tuple[str, ...]
    ) -> Generation: ...

    async def solve(self, nested: Nested) -> Result: ...


@dataclass(frozen=True, slots=True)
class Task:
    """One prompt, as its executor gets it.

    `context` is what the planner had written up to the end of this prompt, and the opening tag of
    its execution; the siblings' executions are not in it. `run` names the run. The methods are for
    the event loop: a function in a thread reaches them by `anyio.from_thread.run`.
    """

    prompt: str
    stage: int
    number: int
    context: Snapshot
    run: str
    handle: RunHandle

    @property
    def logger(self) -> TaskLogger:
        """A logger, below `sprint_agent.executors`, that says whose message it is."""
        return TaskLogger(self.run, self.stage, self.number)

    def remaining(self) -> Remaining:
        """What is left now: up to the run's deadline or a timeout, and of the run's tokens."""
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
        """Lets the run's model go on from `context` (the task's own, by default).

        What it costs counts as this execution's. Raises EngineError as the engine does.
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
        """Solves `question` in a run of its own inside this execution, with the same engine.

        It has `limits` of its own and draws on this run's: deadline, tokens, concurrency. While it
        goes on, this execution's place is for its executions. Only `executors` are known in it,
        and the model. What it costs counts as this execution's; what it reports, the run around
        it reports as NestedEvent.

        Where a limit ended it, the result says which. Raises QuestionError, EngineError, PlanError.
        """
        return await self.handle.solve(Nested(question, executors, limits, join))


@runtime_checkable
class Executor(Protocol):
    """Works on prompts. Whatever `execute` raises becomes a failed execution, never an error.

    `name` is what the planner writes. `description` and `schema` are for a planner that has to be
    told about its executors; `schema` says what a prompt in JSON holds, None where it is plain text.
    """

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def schema(self) -> JsonSchema | None: ...

    async def execute(self, task: Task) -> str | Generation: ...
