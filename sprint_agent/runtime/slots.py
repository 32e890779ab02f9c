"""Concurrency slots for executions, assigned in the order of plans.

The executions of a nested run need a slot of that run and a slot of each run around it. Of all
executions that wait for a slot, the first one in the order of plans gets it: the one that a sequential
reasoner would reach first. So the executions of a nested run go before later executions of the run
around it, and what was begun is finished first.

A slot carries the clock of its holder. When a slot is freed, the pool passes the reading of that clock
to the next holder. The pool neither knows the unit of a reading nor compares readings.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Protocol, Self

import anyio
import anyio.lowlevel


class HolderClock(Protocol):
    """The clock of an execution that holds a slot.

    `freed_at` contains the readings at which the slots that it waited for were freed: at most one for
    each pool, none for a pool in which a slot was free.
    """

    @property
    def now(self) -> int:
        """The current reading."""
        ...

    def begin(self, freed_at: Sequence[int]) -> None:
        """The execution has got its slot, and begins."""
        ...

    def resume(self, freed_at: Sequence[int]) -> None:
        """The execution has got back the slot that it had lent."""
        ...


class SlotPool:
    """The slots of one run: `total` executions can run at the same time, any number if it is None.

    `within` is the slot of the execution that the run is nested in. Its executions then need a slot in
    the pools around this one too.
    """

    def __init__(self, total: int | None, within: Slot | None = None) -> None:
        self.path: tuple[int, ...] = within.path if within else ()
        self._within = within
        self._free = total
        self._waiting: list[_Waiter] = []
        self._arrivals = count()

    def take(self, stage: int, number: int, clock: HolderClock) -> Slot:
        """Returns a slot for execution `number` of `stage`, to be entered with `async with`.

        Entering waits until the slot is free, and leaving frees it.
        """
        return Slot(self, (*self.path, stage, number), clock)

    async def acquire(self, slot: Slot) -> list[int]:
        """Waits for a slot in this pool and in those around it.

        Returns the readings at which the slots that had to be waited for were freed.
        """
        freed_at = await self._acquire_here(slot)
        if self._within is None or self._within.hand_over():
            return freed_at
        # Always from the inside out: an execution that waits only occupies what the others do not need.
        try:
            return [*freed_at, *await self._within.pool.acquire(slot)]
        except BaseException:
            self._release_here(freed_at)
            raise

    async def _acquire_here(self, slot: Slot) -> list[int]:
        await anyio.lowlevel.checkpoint_if_cancelled()
        if self._free is None:
            return []
        if self._free > 0:
            self._free -= 1
            return []
        waiter = _Waiter(slot.path, next(self._arrivals))
        insort(self._waiting, waiter)
        try:
            await waiter.served.wait()
        except BaseException:
            if waiter.served.is_set():
                self._release_here(waiter.freed_at)
            else:
                self._waiting.remove(waiter)
            raise
        return waiter.freed_at

    def release(self, slot: Slot) -> None:
        """Frees the slot in this pool and in those around it."""
        if self._within is not None:
            self._within.pool.release(slot)
        # Nobody waits in most pools, and to read the clock is the dearest part.
        self._release_here([slot.clock.now] if self._waiting else [])

    def _release_here(self, freed_at: list[int]) -> None:
        if self._free is None:
            return
        if not self._waiting:
            self._free += 1
            return
        waiter = self._waiting.pop(0)
        waiter.freed_at = freed_at
        waiter.served.set()


@dataclass(order=True, slots=True)
class _Waiter:
    """An execution that waits for a slot. Waiters are ordered by path, then by arrival."""

    path: tuple[int, ...]
    arrival: int
    freed_at: list[int] = field(default_factory=list[int], compare=False)
    served: anyio.Event = field(default_factory=anyio.Event, compare=False)


class Slot:
    """The slot of one execution.

    `path` is the position of the execution in the plans: its stage and number, after those of the
    executions that it is nested in. `held` tells whether the execution itself has the slot.
    """

    def __init__(self, pool: SlotPool, path: tuple[int, ...], clock: HolderClock) -> None:
        self.pool = pool
        self.path = path
        self.clock = clock
        self.held: bool = False
        self._borrowers = 0
        self._reclaiming = False

    async def __aenter__(self) -> Self:
        self.clock.begin(await self.pool.acquire(self))
        self.held = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.held:
            self.pool.release(self)

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[None]:
        """Lends the slot to a nested run inside the block: its first execution that asks gets it.

        Several nested runs may borrow it at the same time. When the last one ends, the slot is
        acquired again, if it was handed over.
        """
        self._borrowers += 1
        try:
            yield
        finally:
            self._borrowers -= 1
            if self._borrowers == 0 and not self.held and not self._reclaiming:
                await self._reclaim()

    def hand_over(self) -> bool:
        """Gives the slot to an execution of a nested run. Returns False if it is not held."""
        held, self.held = self.held, False
        return held

    async def _reclaim(self) -> None:
        self._reclaiming = True
        try:
            self.clock.resume(await self.pool.acquire(self))
        finally:
            self._reclaiming = False
        self.held = self._borrowers == 0
        if not self.held:
            # It was lent again while this execution waited for it.
            self.pool.release(self)
