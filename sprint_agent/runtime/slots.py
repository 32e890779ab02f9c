"""Places for executions that run at the same time, and how late they come free.

A nested run draws on the places of the run that it is part of, besides its own. Of all that wait, the
one that a sequential reasoner would come to first is served first: a nested run's executions go before
the later executions of the run around it, so that what was begun comes to its end.

Time is told in tokens: those on the critical path of the outermost run, whose clock is at 0 as it
begins. An execution's clock is that of its prompt, or that of the place that it had to wait for, and
goes on with what the execution spends.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import anyio
import anyio.lowlevel


class Slots:
    """Places for executions that run at the same time, given in the order of plans.

    The executions of a nested run need a place in that run and one in each run around it; `within` is
    the place of the execution that it is part of. `clock` is that of the run's stage as it begins.
    """

    def __init__(self, total: int | None, within: Place | None = None) -> None:
        self.path: tuple[int, ...] = within.path if within else ()
        self.clock = within.clock if within else 0
        self._within = within
        self._free = total
        self._waiting: list[_Waiter] = []
        self._arrivals = count()

    def advance(self, tokens: int) -> None:
        """The run's next stage begins, so many tokens after the one before."""
        self.clock += tokens

    @asynccontextmanager
    async def take(
        self, stage: int, number: int, asked: int = 0, spent: Callable[[], int] = lambda: 0
    ) -> AsyncGenerator[Place]:
        """A place for execution `number` of `stage`, while entered.

        It was `asked` for so many tokens into its stage; `spent` tells what the execution has spent.
        """
        place = Place(self, (*self.path, stage, number), spent)
        place.since = max(0, await self.acquire(place) - self.clock)
        place.start = self.clock + max(asked, place.since)
        place.held = True
        try:
            yield place
        finally:
            if place.held:
                self.release(place)

    async def acquire(self, place: Place) -> int:
        """Waits for a place here and in the runs around; when that came free, 0 without a wait."""
        freed = await self._acquire_here(place)
        if self._within is None or self._within.pass_on():
            return freed
        # From the inside outwards, always: whoever waits holds only what the others do not need.
        try:
            return max(freed, await self._within.slots.acquire(place))
        except BaseException:
            self._release_here(freed)
            raise

    async def _acquire_here(self, place: Place) -> int:
        await anyio.lowlevel.checkpoint()
        if self._free is None:
            return 0
        if self._free > 0:
            self._free -= 1
            return 0
        waiter = _Waiter(place.path, next(self._arrivals))
        insort(self._waiting, waiter)
        try:
            await waiter.served.wait()
        except BaseException:
            if waiter.served.is_set():
                self._release_here(waiter.freed)
            else:
                self._waiting.remove(waiter)
            raise
        return waiter.freed

    def release(self, place: Place) -> None:
        """Gives the place back, here and in the runs around."""
        if self._within is not None:
            self._within.slots.release(place)
        self._release_here(place.clock)

    def _release_here(self, clock: int) -> None:
        if self._free is None:
            return
        if not self._waiting:
            self._free += 1
            return
        waiter = self._waiting.pop(0)
        waiter.freed = clock
        waiter.served.set()


@dataclass(order=True, slots=True)
class _Waiter:
    """Who waits for a place: by its path, then by its arrival. `freed` is when that came free."""

    path: tuple[int, ...]
    arrival: int
    freed: int = field(default=0, compare=False)
    served: anyio.Event = field(default_factory=anyio.Event, compare=False)


class Place:
    """The place of one execution.

    `path` is where it stands in the plans: stage and number, those of the executions around it first.
    It came free `since` tokens into the stage, 0 where none had to be waited for, and `start` is its
    clock as the execution began. `delay` are the tokens for which it was waited for anew, once lent.
    """

    def __init__(self, slots: Slots, path: tuple[int, ...], spent: Callable[[], int]) -> None:
        self.slots = slots
        self.path = path
        self.since = 0
        self.start = slots.clock
        self.delay = 0
        self.held = False
        self._spent = spent
        self._borrowers = 0
        self._returning = False

    @property
    def clock(self) -> int:
        """Tokens on the critical path up to now."""
        return self.start + self._spent() + self.delay

    @asynccontextmanager
    async def lent(self) -> AsyncGenerator[None]:
        """While entered, the place is for a nested run's executions: the first that asks takes it."""
        self._borrowers += 1
        try:
            yield
        finally:
            self._borrowers -= 1
            if self._borrowers == 0 and not self.held and not self._returning:
                await self._take_back()

    def pass_on(self) -> bool:
        """Gives the place away, if it is held: to an execution of a nested run, that asks for one."""
        held, self.held = self.held, False
        return held

    async def _take_back(self) -> None:
        self._returning = True
        try:
            self.delay += max(0, await self.slots.acquire(self) - self.clock)
        finally:
            self._returning = False
        self.held = self._borrowers == 0
        if not self.held:
            # It was lent anew while this one waited for it.
            self.slots.release(self)
