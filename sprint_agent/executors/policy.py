"""Timeout, retries, a concurrency limit, a fallback and cached results for any executor.

search = with_policy(SearchExecutor(), Policy(timeout=5, retries=2, concurrency=4))

@executor(policy=Policy(pure=True))
async def population(city: str) -> str: ...
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import RunVar

from sprint_agent.errors import BudgetExhausted, LimitReached, PromptError
from sprint_agent.task import Executor, Generation, JsonSchema, Task, result_characters, text_of

CACHED_CHARACTERS = 8_000_000
"""The most characters in the cache of a pure executor. The least recently used are dropped."""
FIRST_PAUSE = 0.1
"""Seconds before the first retry. Each further retry waits twice as long, up to LONGEST_PAUSE."""
LONGEST_PAUSE = 5.0
"""The most seconds before a retry."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How an executor is run. The default changes nothing.

    A PromptError is neither retried nor passed to the fallback, because the same prompt would fail
    again. The same applies if the token or cost budget of the run or of a nested run is used up.

    An executor that starts itself again in a nested run would wait for itself. It must not have a
    `concurrency` limit and must not be `pure`.

    Raises:
        ValueError: a bound is not positive, or `retries` is negative.
    """

    timeout: float | None = None
    """The most seconds for one attempt. Waiting for a concurrency slot does not count."""
    retries: int = 0
    """How often an attempt that failed is repeated, after a pause."""
    concurrency: int | None = None
    """How many attempts run at a time, across all runs of one event loop. The others wait."""
    pure: bool = False
    """Whether a result depends on the text of the prompt alone.

    If so, the result is cached for equal prompts. If equal prompts arrive at the same time, one is
    executed while the others wait for its result. They also get its failure, which is not cached.
    """
    fallback: Executor | None = None
    """Gets the task if the last attempt fails too. Its result becomes that of the execution."""
    max_characters: int | None = None
    """After how many characters the result is cut. None for the executor's own bound.

    That is 32,000 for most executors. The text says how much was cut.
    """

    def __post_init__(self) -> None:
        for name in ("timeout", "concurrency", "max_characters"):
            bound = getattr(self, name)
            if bound is not None and bound <= 0:
                raise ValueError(f"the policy's {name} must be positive, not {bound}")
        if self.retries < 0:
            raise ValueError(f"the policy's retries must not be negative, not {self.retries}")


def with_policy(executor: Executor, policy: Policy) -> Executor:
    """Returns an executor of the same name that runs `executor` under `policy`.

    Policies can be nested.
    """
    return _PolicyExecutor(executor, policy)


class _PolicyExecutor:
    """Applies, from the outside to the inside: fallback, cache, retries, concurrency, timeout.

    So waiting for a slot is not timed, and a cached result takes no slot.
    """

    def __init__(self, executor: Executor, policy: Policy) -> None:
        self._executor = executor
        self._policy = policy

    @property
    def name(self) -> str:
        return self._executor.name

    @property
    def description(self) -> str:
        return self._executor.description

    @property
    def schema(self) -> JsonSchema | None:
        return self._executor.schema

    @property
    def max_characters(self) -> int:
        return self._policy.max_characters or result_characters(self._executor)

    async def execute(self, task: Task) -> str | Generation:
        fallback = self._policy.fallback
        if fallback is None:
            return await self._without_fallback(task)
        try:
            return await self._without_fallback(task)
        except Exception as error:
            if _final(error):
                raise
            task.logger.warning("%s failed, %s takes over: %r", self.name, fallback.name, error)
        return await fallback.execute(task)

    async def _without_fallback(self, task: Task) -> str | Generation:
        return await (self._shared(task) if self._policy.pure else self._attempts(task))

    async def _shared(self, task: Task) -> str | Generation:
        """Returns the result for the prompt: cached, from another task, or computed here."""
        state = self._state()
        while True:
            cached = state.cache.get(task.prompt)
            if cached is not None:
                return cached
            pending = state.pending.get(task.prompt)
            if pending is None:
                break
            await pending.ended.wait()
            if pending.error is not None:
                raise pending.error
            if pending.text is not None:
                return pending.text
            # The other task was cancelled or reached a limit: the first to notice takes over.
        pending = state.pending[task.prompt] = _Pending()
        try:
            outcome = await self._attempts(task)
            pending.text = text_of(outcome)
            state.cache.put(task.prompt, pending.text)
            return outcome
        except (BudgetExhausted, LimitReached):
            raise
        except Exception as error:
            pending.error = error
            raise
        finally:
            del state.pending[task.prompt]
            pending.ended.set()

    async def _attempts(self, task: Task) -> str | Generation:
        pause = FIRST_PAUSE
        for attempt in range(1, self._policy.retries + 1):
            try:
                return await self._attempt(task)
            except Exception as error:
                if _final(error):
                    raise
                task.logger.warning("%s failed at attempt %d: %r", self.name, attempt, error)
            await anyio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return await self._attempt(task)

    async def _attempt(self, task: Task) -> str | Generation:
        timeout = self._policy.timeout
        async with self._state().slots:
            with anyio.move_on_after(timeout):
                return await self._executor.execute(task)
            raise TimeoutError(f"{self.name} took longer than {timeout:g} s")

    def _state(self) -> _State:
        states = _states()
        if self not in states:
            states[self] = _State(anyio.CapacityLimiter(self._policy.concurrency or math.inf))
        return states[self]


def _final(error: Exception) -> bool:
    """Returns whether a retry would fail too: the prompt is wrong, or a budget is used up."""
    if isinstance(error, LimitReached):
        return error.limit != "deadline"
    return isinstance(error, PromptError | BudgetExhausted)


class _Cache:
    """Texts by prompt, the most recently used last."""

    def __init__(self) -> None:
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._size = 0

    def get(self, prompt: str) -> str | None:
        if prompt in self._texts:
            self._texts.move_to_end(prompt)
        return self._texts.get(prompt)

    def put(self, prompt: str, text: str) -> None:
        self._texts[prompt] = text
        self._size += len(prompt) + len(text)
        while self._size > CACHED_CHARACTERS:
            oldest, dropped = self._texts.popitem(last=False)
            self._size -= len(oldest) + len(dropped)


class _Pending:
    """A result that a task is computing.

    If it ended with neither a text nor an error, the task was stopped and another may take over.
    """

    def __init__(self) -> None:
        self.ended = anyio.Event()
        self.text: str | None = None
        self.error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _State:
    """What the executions of one executor in one event loop share."""

    slots: anyio.CapacityLimiter
    cache: _Cache = field(default_factory=_Cache)
    pending: dict[str, _Pending] = field(default_factory=dict[str, _Pending])


# An executor is often defined in a module and outlives event loops. What it waits on cannot.
_States = WeakKeyDictionary[_PolicyExecutor, _State]
_run_states: RunVar[_States] = RunVar("sprint_agent.executors.policy")


def _states() -> _States:
    states = _run_states.get(None)
    if states is None:
        states = _States()
        _run_states.set(states)
    return states
