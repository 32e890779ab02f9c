"""Places for executions that run at the same time.

A nested run draws on the places of the run that it is part of, besides its own. Of all that wait, the
one that a sequential reasoner would come to first is served first: a nested run's executions go before
the later executions of the run around it, so that what was begun comes to its end.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import anyio
import anyio.lowlevel


class Slots:
    """Places for executions that run at the same time, given in the order of plans.

    The executions of a nested run need a place in that run and one in each run around it; `within` is
    the place of the execution that it is part of.
    """

    def __init__(self, total: int | None, within: Place | None = None) -> None:
        self.path: tuple[int, ...] = within.path if within else ()
        self._within = within
        self._free = total
        self._waiting: list[_Waiter] = []
        self._arrivals = count()

    @asynccontextmanager
    async def take(self, stage: int, number: int) -> AsyncGenerator[Place]:
        """A place for execution `number` of `stage`, while entered."""
        place = Place(self, stage, number)
        before = await self.acquire(place)
        if before is not None and before.slots is self and before.stage == stage:
            place.after = before.number
        place.held = True
        try:
            yield place
        finally:
            if place.held:
                self.release(place)

    async def acquire(self, place: Place) -> Place | None:
        """Waits for a place here and in the runs around; says whose it was, if it had to wait."""
        before = await self._acquire_here(place)
        if self._within is None or self._within.pass_on():
            return before
        # From the inside outwards, always: whoever waits holds only what the others do not need.
        try:
            before = await self._within.slots.acquire(place) or before
        except BaseException:
            self._release_here(place)
            raise
        return before

    async def _acquire_here(self, place: Place) -> Place | None:
        await anyio.lowlevel.checkpoint()
        if self._free is None:
            return None
        if self._free > 0:
            self._free -= 1
            return None
        waiter = _Waiter(place.path, next(self._arrivals))
        insort(self._waiting, waiter)
        try:
            await waiter.served.wait()
        except BaseException:
            if waiter.before is None:
                self._waiting.remove(waiter)
            else:
                self._release_here(waiter.before)
            raise
        return waiter.before

    def release(self, place: Place) -> None:
        """Gives the place back, here and in the runs around."""
        if self._within is not None:
            self._within.slots.release(place)
        self._release_here(place)

    def _release_here(self, place: Place) -> None:
        if self._free is None:
            return
        if not self._waiting:
            self._free += 1
            return
        waiter = self._waiting.pop(0)
        waiter.before = place
        waiter.served.set()


@dataclass(order=True, slots=True)
class _Waiter:
    """Who waits for a place: by its path, then by its arrival. `before` had the place that it got."""

    path: tuple[int, ...]
    arrival: int
    before: Place | None = field(default=None, compare=False)
    served: anyio.Event = field(default_factory=anyio.Event, compare=False)


class Place:
    """The place of one execution. `after` is the number of the one for whose end it had to wait.

    `path` is where it stands in the plans: stage and number, those of the executions around it first.
    """

    def __init__(self, slots: Slots, stage: int, number: int) -> None:
        self.slots = slots
        self.stage = stage
        self.number = number
        self.path = (*slots.path, stage, number)
        self.after: int | None = None
        self.held = False
        self._borrowers = 0
        self._returning = False

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
            await self.slots.acquire(self)
        finally:
            self._returning = False
        self.held = self._borrowers == 0
        if not self.held:
            # It was lent anew while this one waited for it.
            self.slots.release(self)
