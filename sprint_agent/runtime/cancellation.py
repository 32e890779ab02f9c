"""Whether a task is being cancelled: by a scope of anyio, or by asyncio itself."""

from __future__ import annotations

import asyncio

import anyio.lowlevel


def current_task() -> asyncio.Task[object] | None:
    """Returns the current asyncio task, None under trio."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


async def raise_if_cancelled() -> None:
    """Raises the cancellation of the current task, if there is one.

    The caller that cancels must not get another error in its place: an engine may fail while it is
    cancelled, for example because its connection breaks. Call this before such an error is used.
    """
    await anyio.lowlevel.checkpoint_if_cancelled()
    task = current_task()
    # `asyncio.timeout` and other code of asyncio cancel without a scope.
    if task is not None and task.cancelling() > 0:
        raise asyncio.CancelledError
