"""How many requests run at the same time, and how long a busy model is not asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio


class AdaptiveLimiter:
    """Limits the requests that run at the same time, over all models.

    At most `most` requests run. A 429 halves this limit, and each answer gives back a part of one slot,
    as in TCP's congestion control. Otherwise all requests that a busy endpoint refuses at the same time
    would return at the same time, until they have no tries left.

    If a server says when to return, nothing asks its model earlier.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._slots = anyio.CapacityLimiter(most)
        self._halved_at = float("-inf")
        self._closed_until: dict[str, float] = {}

    @property
    def slots(self) -> int:
        """How many requests may run now."""
        return int(self._slots.total_tokens)

    @asynccontextmanager
    async def slot(self, model: str) -> AsyncGenerator[float]:
        """Waits for a slot for one request to `model`, and frees it after the block.

        Yields:
            The time at which the slot was taken, in seconds of the event loop's clock.
        """
        while True:
            pause = self._closed_until.get(model, 0.0) - anyio.current_time()
            if pause > 0:
                await anyio.sleep(pause)
            async with self._slots:
                now = anyio.current_time()
                # While this one waited for a slot, the server may have asked for another pause.
                if self._closed_until.get(model, 0.0) <= now:
                    yield now
                    return

    def busy(self, model: str, since: float, retry_after: float | None) -> None:
        """Records a 429 for a request to `model`.

        Args:
            model: the model that was asked.
            since: when the request got its slot, as `slot` yielded it.
            retry_after: the seconds for which the server wants no request. None if it does not say.
        """
        now = anyio.current_time()
        if retry_after is not None:
            self._closed_until[model] = max(self._closed_until.get(model, 0.0), now + retry_after)
        # A burst of refusals counts once: only a request sent after the last halving halves again.
        if since >= self._halved_at:
            self._halved_at = now
            self._set_limit(max(1.0, self._limit / 2))

    def answered(self) -> None:
        """Records an answer. As many answers as there are slots add one slot."""
        if self._limit < self._most:
            self._set_limit(min(self._most, self._limit + 1 / self._limit))

    def _set_limit(self, limit: float) -> None:
        self._limit = limit
        if int(limit) != self._slots.total_tokens:
            self._slots.total_tokens = int(limit)
