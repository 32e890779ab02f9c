"""How an executor is run: timeout, retries, how many at a time, a fallback, cached results.

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
from sprint_agent.task import Executor, Generation, JsonSchema, Task, text_of

CACHED_CHARACTERS = 8_000_000
"""What a pure executor's cache holds at most; what was used longest ago makes room."""
FIRST_PAUSE = 0.1
"""Seconds before the first retry; each further one waits twice as long, up to `LONGEST_PAUSE`."""
LONGEST_PAUSE = 5.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How an executor is run; without anything, as it is.

    `concurrency` bounds how many of its executions run at a time, in all runs of an event loop;
    the others queue. Each attempt may take `timeout` seconds from when it starts, queueing not
    counted. An attempt that fails is made again up to `retries` times, after a pause. If the last
    one fails too, `fallback` gets the task; what it returns is then the execution's.

    `pure` says that a result depends on the prompt's text alone: it is kept for equal prompts, and
    of those that come at the same time one is worked on while the others wait for it. A failure is
    handed to those that wait, and not kept.

    A PromptError is neither retried nor given to the fallback, and nor is a budget that is used up,
    the run's or a nested run's. An executor that comes to run itself again, in a nested run, would
    wait for itself: it must be neither bounded by `concurrency` nor pure.

    Raises ValueError for a bound that is not positive.
    """

    timeout: float | None = None
    retries: int = 0
    concurrency: int | None = None
    pure: bool = False
    fallback: Executor | None = None

    def __post_init__(self) -> None:
        for name in ("timeout", "concurrency"):
            bound = getattr(self, name)
            if bound is not None and bound <= 0:
                raise ValueError(f"the policy's {name} must be positive, not {bound}")
        if self.retries < 0:
            raise ValueError(f"the policy's retries must not be negative, as {self.retries} is")


def with_policy(executor: Executor, policy: Policy) -> Executor:
    """`executor`, under the same name, run as `policy` says. Policies may be put around others."""
    return _PolicyExecutor(executor, policy)


class _PolicyExecutor:
    """From the outside inwards: fallback, cache, retries, place, timeout."""

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

    async def execute(self, task: Task) -> str | Generation:
        fallback = self._policy.fallback
        if fallback is None:
            return await self._own(task)
        try:
            return await self._own(task)
        except Exception as error:
            if _final(error):
                raise
            task.logger.warning("%s failed, %s takes over: %r", self.name, fallback.name, error)
        return await fallback.execute(task)

    async def _own(self, task: Task) -> str | Generation:
        return await (self._shared(task) if self._policy.pure else self._attempts(task))

    async def _shared(self, task: Task) -> str | Generation:
        """The result for the task's prompt: kept, awaited from who works on it, or made here."""
        state = self._state()
        while True:
            kept = state.cache.get(task.prompt)
            if kept is not None:
                return kept
            flight = state.flights.get(task.prompt)
            if flight is None:
                break
            await flight.landed.wait()
            if flight.error is not None:
                raise flight.error
            if flight.text is not None:
                return flight.text
            # Whoever worked on it was cancelled or reached a limit: the first to see it takes over.
        flight = state.flights[task.prompt] = _Flight()
        try:
            outcome = await self._attempts(task)
            flight.text = text_of(outcome)
            state.cache.put(task.prompt, flight.text)
            return outcome
        except (BudgetExhausted, LimitReached):
            raise
        except Exception as error:
            flight.error = error
            raise
        finally:
            del state.flights[task.prompt]
            flight.landed.set()

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
        async with self._state().places:
            with anyio.move_on_after(timeout):
                return await self._executor.execute(task)
            raise TimeoutError(f"{self.name} took longer than {timeout:g} s")

    def _state(self) -> _State:
        states = _states()
        if self not in states:
            states[self] = _State(anyio.CapacityLimiter(self._policy.concurrency or math.inf))
        return states[self]


def _final(error: Exception) -> bool:
    """Whether another try would fail as well: the prompt is at fault, or a budget is used up."""
    if isinstance(error, LimitReached):
        return error.limit != "deadline"
    return isinstance(error, PromptError | BudgetExhausted)


class _Cache:
    """Texts by prompt, the latest used last."""

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


class _Flight:
    """A result that is being worked on. Landed without either, nobody works on it any more."""

    def __init__(self) -> None:
        self.landed = anyio.Event()
        self.text: str | None = None
        self.error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _State:
    """What the executions of an executor in one event loop share."""

    places: anyio.CapacityLimiter
    cache: _Cache = field(default_factory=_Cache)
    flights: dict[str, _Flight] = field(default_factory=dict[str, _Flight])


# An executor is often a module's own, and outlives event loops; what it waits on cannot.
_States = WeakKeyDictionary[_PolicyExecutor, _State]
_run_states: RunVar[_States] = RunVar("sprint_agent.executors.policy")


def _states() -> _States:
    states = _run_states.get(None)
    if states is None:
        states = _States()
        _run_states.set(states)
    return states
