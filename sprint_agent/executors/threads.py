"""Functions that are not async, in a worker thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio.to_thread

T = TypeVar("T")

MOST_LEFT = 64
"""So many threads may still be at work for executions that are over; then none is started."""


async def in_thread(function: Callable[[], T]) -> T:
    """What `function` returns, from a worker thread. All calls share anyio's (40 by default).

    A thread cannot be ended from outside. When the call is cancelled (deadline, timeout, first
    success), it is left at once: limits hold, and the thread goes on alone until `function` returns,
    its result dropped. So what it does may still happen after the run is over, and the interpreter
    waits for it before it exits. A long function asks `anyio.from_thread.check_cancelled()` now and
    then, which raises when nobody waits any more. One that must be waited for is best called from
    an async executor, by `anyio.to_thread.run_sync`.

    Raises RuntimeError where too many threads were left and have not ended.
    """
    if _Call.left_threads >= MOST_LEFT:
        raise RuntimeError(
            f"{_Call.left_threads} threads are still at work for executions that are over: bound "
            "how long a function waits, or let it ask anyio.from_thread.check_cancelled()"
        )
    call = _Call(function)
    try:
        return await anyio.to_thread.run_sync(call.run, abandon_on_cancel=True)
    finally:
        call.leave()


class _Call(Generic[T]):
    """A function in a thread, which is counted while it runs and nobody waits for it."""

    left_threads = 0
    _lock = threading.Lock()

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._running = False
        self._left = False

    def run(self) -> T:
        with _Call._lock:
            if self._left:
                raise RuntimeError("nobody waits for this call any more")
            self._running = True
        try:
            return self._function()
        finally:
            with _Call._lock:
                self._running = False
                _Call.left_threads -= self._left

    def leave(self) -> None:
        """Nobody waits for the call from now on."""
        with _Call._lock:
            _Call.left_threads += self._running
            self._left = True
