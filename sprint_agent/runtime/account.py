"""What a run draws on, and what its calls have cost."""

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
    """Counts what calls cost: those that ended, those still running, and those of its children."""

    def __init__(self) -> None:
        self._ended: list[TokenUsage] = []
        self._open: dict[int, tuple[int, int]] = {}
        self._children: list[UsageCounter] = []

    @property
    def usage(self) -> TokenUsage:
        """The sum of all calls. Of a call that was left early, the tokens that arrived count."""
        running = (TokenUsage(*counts) for counts in self._open.values())
        return add([*self._ended, *running, *(child.usage for child in self._children)])

    def child(self) -> UsageCounter:
        """Returns a counter whose calls count here too."""
        child = UsageCounter()
        self._children.append(child)
        return child

    def add(self, usage: TokenUsage) -> None:
        """Counts calls of an earlier part of the run."""
        self._ended.append(usage)

    def begin(self, call: int, prompt_tokens: int) -> None:
        """A call is sent."""
        self._open[call] = (prompt_tokens, 0)

    def receive(self, call: int, delta: Delta) -> None:
        """A delta arrived. Without ids it counts as one token, until the engine reports the number."""
        prompt_tokens, arrived = self._open[call]
        self._open[call] = (prompt_tokens, arrived + (len(delta.ids) or 1))

    def end(self, call: int, usage: TokenUsage | None) -> TokenUsage:
        """A call ended. Returns its cost: `usage` as the engine reports it, or what was counted."""
        self._ended.append(usage or TokenUsage(*self._open[call]))
        del self._open[call]
        return self._ended[-1]


class CallEndSignal:
    """Wakes those that wait for a call to end."""

    def __init__(self) -> None:
        self._next: anyio.Event | None = None

    async def wait(self) -> None:
        """Waits until the next call ends."""
        if self._next is None:
            self._next = anyio.Event()
        await self._next.wait()

    def notify(self) -> None:
        """A call ended."""
        if self._next is not None:
            self._next.set()
            self._next = None


@dataclass(frozen=True, slots=True)
class RunAccount:
    """The budget, the concurrency slots and the usage of one run."""

    run: str
    """The name of the run: the names of the runs around it, then its own."""
    tag: RunTag
    """The outermost run, as the engine knows it."""
    budget: Budget
    slots: SlotPool
    clock: RunClock
    usage: UsageCounter
    call_ends: CallEndSignal
    """Shared by the outermost run and all of its nested runs."""

    @classmethod
    def open(cls, limits: Limits, prices: Prices | None) -> Self:
        """Returns the account of an outermost run."""
        run = uuid.uuid4().hex[:8]
        tag = RunTag(run, time.time())
        budget, slots = Budget(limits, prices), SlotPool(limits.concurrency)
        return cls(run, tag, budget, slots, RunClock(), UsageCounter(), CallEndSignal())

    def nested(self, slot: Slot, limits: Limits, usage: UsageCounter) -> RunAccount:
        """Returns the account of a run inside the execution that has `slot`."""
        stage, number = slot.path[-2:]
        return RunAccount(
            f"{self.run}/{stage}.{number}",
            self.tag,
            self.budget.nested(limits),
            SlotPool(limits.concurrency, slot),
            RunClock(slot.clock.now),
            usage,
            self.call_ends,
        )

    async def reserve(self, prompt_tokens: int, wanted: int, ahead: int, arrived: int) -> Grant:
        """Reserves the first share of a call. If too little is left, waits until running calls end.

        The arguments are those of `Budget.reserve`.

        Raises:
            BudgetExhausted: No token is left, and no running call can give any back.
        """
        while (grant := self.budget.reserve(prompt_tokens, wanted, ahead, arrived)) is None:
            await self.call_ends.wait()
        return grant

    async def extend(self, grant: Grant, arrived: int) -> None:
        """Lets the share of a call grow. If too little is left, waits until other calls end.

        Raises:
            BudgetExhausted: Too little is left, and no other running call can give any back.
        """
        while not self.budget.extend(grant, arrived):
            with self.budget.waiting():
                await self.call_ends.wait()

    def settle(self, grant: Grant, used: TokenUsage) -> None:
        """Ends a call: what it reserved and did not use is free again."""
        self.budget.settle(grant, used.prompt_tokens, used.completion_tokens, used.cached_tokens)
        self.call_ends.notify()

    def resume(self, usage: TokenUsage, executions: int) -> None:
        """Counts what an earlier part of the run used."""
        self.usage.add(usage)
        self.budget.resume(
            usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, executions
        )
