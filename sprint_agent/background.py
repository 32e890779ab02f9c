"""Tasks that no task group holds, for what one task begins and another one may end.

A task group, like any cancel scope, must be left by the task that entered it. But an async generator can
be entered by one task and closed by another: a web framework closes the body of a response whose client
has gone, and the event loop closes a generator that was dropped. A block that such a generator may hold
open must therefore hold no group. Everywhere else, use a task group.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import anyio


class BackgroundTask:
    """Runs `work` in a separate task while the block runs. Leaving the block cancels it and waits.

        async with BackgroundTask(work):
            ...

    The block can be entered and left by different tasks. `work` has the context variables of the task
    that enters the block, but not its deadlines. It must raise nothing: what it raises is raised by
    `stop`.
    """

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()
        self._error: BaseException | None = None
        self._task: object = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def start(self) -> None:
        """Starts the task."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            import trio

            context = contextvars.copy_context()
            self._task = trio.lowlevel.spawn_system_task(self._host, context=context)
        else:
            # The loop itself only has a weak reference to its tasks.
            self._task = loop.create_task(self._host())

    async def stop(self) -> None:
        """Cancels the task and waits until it has ended."""
        self._scope.cancel()
        await self.wait()

    async def wait(self) -> None:
        """Waits until the task has ended, even if the waiting task is cancelled meanwhile."""
        with anyio.CancelScope(shield=True):
            await self._ended.wait()
        if self._error is not None:
            raise self._error

    async def _host(self) -> None:
        try:
            with self._scope:
                await self._work()
        except Exception as error:
            self._error = error
        finally:
            self._ended.set()
