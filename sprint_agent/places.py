"""Places for executions that run at the same time.

A nested run draws on the places of the run that it is part of, besides its own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio


class Slots:
    """Places for executions that run at the same time, given in the order in which they ask.

    An execution of a nested run needs a place in that run and one in each run around it.
    """

    def __init__(self, total: int | None, parent: Slots | None = None) -> None:
        self._limiter = anyio.CapacityLimiter(total) if total else None
        self._parent = parent
        self._released: Place | None = None

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
        before: Place | None = None
        if self._limiter is not None:
            waits = self._limiter.available_tokens < 1
            await self._limiter.acquire_on_behalf_of(place)
            before = self._released if waits else None
        if self._parent is not None:
            # From the inside outwards, always: whoever waits holds only what the others do not need.
            try:
                before = await self._parent.acquire(place) or before
            except BaseException:
                self._release_here(place)
                raise
        return before

    def release(self, place: Place) -> None:
        """Gives the place back, here and in the runs around."""
        if self._parent is not None:
            self._parent.release(place)
        self._release_here(place)

    def _release_here(self, place: Place) -> None:
        if self._limiter is not None:
            self._released = place
            self._limiter.release_on_behalf_of(place)


class Place:
    """The place of one execution. `after` is the number of the one for whose end it had to wait."""

    def __init__(self, slots: Slots, stage: int, number: int) -> None:
        self.slots = slots
        self.stage = stage
        self.number = number
        self.after: int | None = None
        self.held = False
        self._borrowers = 0
        self._returning = False

    @asynccontextmanager
    async def lent(self) -> AsyncGenerator[None]:
        """Gives the place to others for a while: a nested run's executions need it themselves."""
        self._borrowers += 1
        if self.held:
            self.held = False
            self.slots.release(self)
        try:
            yield
        finally:
            self._borrowers -= 1
            if self._borrowers == 0 and not self._returning:
                await self._take_back()

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
