"""Runs functions that are not async in worker threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio.to_thread

T = TypeVar("T")

MAX_ABANDONED = 64
"""If this many threads still run for executions that have ended, no further thread is started."""


async def in_thread(function: Callable[[], T]) -> T:
    """Calls `function` in a worker thread and returns its result.

    All calls share anyio's threads, of which there are 40 by default.

    A thread cannot be ended from outside. If the call is cancelled (by a deadline, a timeout or the
    first success), it is abandoned at once, so limits are kept. The thread continues until
    `function` returns, and its result is dropped. So the function may still act after the run has
    ended, and the interpreter waits for it before it exits. A long function should call
    `anyio.from_thread.check_cancelled()` from time to time, which raises once the call is
    abandoned. If a function must be waited for, call it from an async executor with
    `anyio.to_thread.run_sync`.

    Raises:
        RuntimeError: too many threads were abandoned and still run.
    """
    if _Call.abandoned_threads >= MAX_ABANDONED:
        raise RuntimeError(
            f"{_Call.abandoned_threads} threads still run for executions that have ended: bound "
            "how long a function waits, or call anyio.from_thread.check_cancelled() in it"
        )
    call = _Call(function)
    try:
        return await anyio.to_thread.run_sync(call.run, abandon_on_cancel=True)
    finally:
        call.abandon()


class _Call(Generic[T]):
    """A function in a thread. It is counted while it runs and nobody waits for it."""

    abandoned_threads = 0
    _lock = threading.Lock()

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._running = False
        self._abandoned = False

    def run(self) -> T:
        with _Call._lock:
            if self._abandoned:
                raise RuntimeError("the call was abandoned before its thread began")
            self._running = True
        try:
            return self._function()
        finally:
            with _Call._lock:
                self._running = False
                _Call.abandoned_threads -= self._abandoned

    def abandon(self) -> None:
        """Marks the call as one that nobody waits for. Counts it if it still runs."""
        with _Call._lock:
            _Call.abandoned_threads += self._running
            self._abandoned = True
