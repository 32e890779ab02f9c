"""What a run draws on, and what its calls have cost so far."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Self

import anyio

from sprint_agent.engine import Delta, RunTag, TokenUsage
from sprint_agent.limits import Limits, Prices
from sprint_agent.result import add
from sprint_agent.runtime.budget import Budget, Grant
from sprint_agent.runtime.critical_path import RunClock
from sprint_agent.runtime.slots import Slot, SlotPool


class UsageCounter:
    """What calls have cost so far, those under way included, and what those of its `children` have."""

    def __init__(self) -> None:
        self._ended: list[TokenUsage] = []
        self._open: dict[int, tuple[int, int]] = {}
        self._children: list[UsageCounter] = []

    @property
    def usage(self) -> TokenUsage:
        """The sum of all calls. Of a call that was left early, what had arrived counts."""
        under_way = (TokenUsage(*counts) for counts in self._open.values())
        return add([*self._ended, *under_way, *(child.usage for child in self._children)])

    def child(self) -> UsageCounter:
        """A tally of its own, whose calls count here too."""
        child = UsageCounter()
        self._children.append(child)
        return child

    def add(self, usage: TokenUsage) -> None:
        """Counts calls that ended before, in an earlier part of the run."""
        self._ended.append(usage)

    def begin(self, call: int, prompt_tokens: int) -> None:
        """A call is sent."""
        self._open[call] = (prompt_tokens, 0)

    def receive(self, call: int, delta: Delta) -> None:
        """A delta has come. Without ids, it counts as one token until the engine says better."""
        prompt_tokens, arrived = self._open[call]
        self._open[call] = (prompt_tokens, arrived + (len(delta.ids) or 1))

    def end(self, call: int, usage: TokenUsage | None) -> TokenUsage:
        """A call has ended, with the engine's own count or without; returns what it cost."""
        self._ended.append(usage or TokenUsage(*self._open[call]))
        del self._open[call]
        return self._ended[-1]


class Ends:
    """Wakes those who wait for a call to end."""

    def __init__(self) -> None:
        self._next: anyio.Event | None = None

    async def wait(self) -> None:
        """Waits for the next end of a call."""
        if self._next is None:
            self._next = anyio.Event()
        await self._next.wait()

    def tell(self) -> None:
        """A call has ended."""
        if self._next is not None:
            self._next.set()
            self._next = None


@dataclass(frozen=True, slots=True)
class RunAccount:
    """What a run draws on, and where it is counted.

    `run` names it: those around it, then itself. `tag` is that of the outermost, for the engine. `ends`
    are the ends of calls of all of them.
    """

    run: str
    tag: RunTag
    budget: Budget
    slots: SlotPool
    clock: RunClock
    tally: UsageCounter
    ends: Ends

    @classmethod
    def open(cls, limits: Limits, prices: Prices | None) -> Self:
        """The account of a run that stands for itself."""
        run = uuid.uuid4().hex[:8]
        tag = RunTag(run, time.time())
        return cls(
            run,
            tag,
            Budget(limits, prices),
            SlotPool(limits.concurrency),
            RunClock(),
            UsageCounter(),
            Ends(),
        )

    def nested(self, slot: Slot, limits: Limits, tally: UsageCounter) -> RunAccount:
        """The account of a run inside the execution that has `slot`: its limits within this run's."""
        stage, number = slot.path[-2:]
        return RunAccount(
            f"{self.run}/{stage}.{number}",
            self.tag,
            self.budget.nested(limits),
            SlotPool(limits.concurrency, slot),
            RunClock(slot.clock.now),
            tally,
            self.ends,
        )

    async def reserve(self, prompt_tokens: int, wanted: int) -> Grant:
        """Reserves tokens for a call, and waits for others to end where these leave too few.

        Raises BudgetExhausted where none are left.
        """
        while (grant := self.budget.reserve(prompt_tokens, wanted)) is None:
            await self.ends.wait()
        return grant

    def settle(self, grant: Grant, used: TokenUsage) -> None:
        """Ends a call, that used so much of what it had reserved."""
        self.budget.settle(grant, used.prompt_tokens, used.completion_tokens, used.cached_tokens)
        self.ends.tell()

    def resume(self, usage: TokenUsage, executions: int) -> None:
        """Counts what an earlier part of the run had used, and need not do again."""
        self.tally.add(usage)
        self.budget.resume(
            usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, executions
        )
