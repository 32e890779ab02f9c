"""How many requests are under way, and when a model is left alone: what a busy endpoint asks for."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio


class Pace:
    """One limiter on requests, for all models: `most` places, and fewer while the endpoint is busy.

    A 429 halves the places, and each answer gives a part of one back, as TCP does it. So the many that
    a busy endpoint refuses at the same time do not all come back at the same time until none of them
    has a try left. A model whose server says when to come back is not asked earlier, by anyone.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._room = float(most)
        self._places = anyio.CapacityLimiter(most)
        self._lowered = float("-inf")
        self._rests: dict[str, float] = {}

    @property
    def places(self) -> int:
        """How many requests may be under way now."""
        return int(self._places.total_tokens)

    @asynccontextmanager
    async def place(self, model: str) -> AsyncGenerator[float]:
        """A place for one request to `model`, since when it is held in the event loop's seconds."""
        while True:
            rest = self._rests.get(model, 0.0) - anyio.current_time()
            if rest > 0:
                await anyio.sleep(rest)
            async with self._places:
                now = anyio.current_time()
                # Whoever had a place before may have been told to come back later.
                if self._rests.get(model, 0.0) <= now:
                    yield now
                    return

    def busy(self, model: str, since: float, retry_after: float | None) -> None:
        """A request to `model` that had its place `since` then was answered with a 429."""
        now = anyio.current_time()
        if retry_after is not None:
            self._rests[model] = max(self._rests.get(model, 0.0), now + retry_after)
        # One burst of refusals counts once: only what was sent after the last halving halves again.
        if since >= self._lowered:
            self._lowered = now
            self._make(max(1.0, self._room / 2))

    def answered(self) -> None:
        """A request was answered: as many answers as there are places are one place more."""
        if self._room < self._most:
            self._make(min(self._most, self._room + 1 / self._room))

    def _make(self, room: float) -> None:
        self._room = room
        if int(room) != self._places.total_tokens:
            self._places.total_tokens = int(room)
