"""Does a coroutine clean up behind itself, wherever it is cancelled?

    async def run() -> None:
        await Sprint(engine, executors=[search]).solve("What?")

    report = await cancel_everywhere(run, leaked={"requests": lambda: engine.in_flight})
    assert report.ok, str(report)

Works on asyncio, where it counts what tasks do; through anyio, it cancels by a cancel scope.
"""

from __future__ import annotations

import asyncio
import inspect
import time
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio

T = TypeVar("T")

Look = Callable[[], object | Awaitable[object]]
"""Looks for something that was left: what it returns, or awaits, is false where there is nothing."""


@dataclass(frozen=True, slots=True)
class Leak:
    """What was left, or went wrong, after a cancellation at `point`; 0: after a whole run."""

    point: int
    what: str


@dataclass(frozen=True, slots=True)
class CancelReport:
    """What `cancel_everywhere` found.

    `points` is at how many suspension points it cancelled, one run each; `complete` whether those
    are all that there are. `slowest` is the longest that a run took to end once it was cancelled,
    in seconds.
    """

    points: int
    leaks: tuple[Leak, ...]
    slowest: float
    complete: bool = True

    @property
    def ok(self) -> bool:
        """True where every point was tried and nothing was left at any."""
        return self.complete and not self.leaks

    def __str__(self) -> str:
        lines = [f"at point {leak.point}: {leak.what}" for leak in self.leaks]
        if not self.complete:
            lines.append(f"not done after {self.points} points")
        return "\n".join([*lines, f"{self.points} points, {len(self.leaks)} leaks"])


async def cancel_everywhere(
    make: Callable[[], Coroutine[Any, Any, object]],
    *,
    leaked: Mapping[str, Look] | None = None,
    most: int = 10_000,
) -> CancelReport:
    """Runs `make()` once for each of its suspension points, and cancels it there.

    A suspension point is one at which the coroutine, or a task that came of it, waits or lets
    others run. The coroutine is cancelled at the first, then, anew, at the second, and so on, until
    one run gets to its end; so it should do the same each time, and be quick.

    A leak is a task of the run that outlives it, a cancellation that was swallowed or became
    another exception, and whatever `leaked` finds after a run: its values are called (and awaited
    where that is to be), and name what is left by anything true. After `most` points it gives up.
    What the coroutine raises without being cancelled is raised here.
    """
    leaks: list[Leak] = []
    slowest = 0.0
    for point in range(1, most + 1):
        trial = _Trial(point)
        await trial.run(make)
        found = [*trial.faults(), *await _looked(leaked or {})]
        if trial.cancelled_at is None:
            leaks += [Leak(0, what) for what in found]
            return CancelReport(point - 1, tuple(leaks), slowest)
        leaks += [Leak(point, what) for what in found]
        slowest = max(slowest, trial.ended_at - trial.cancelled_at)
    return CancelReport(most, tuple(leaks), slowest, complete=False)


async def _looked(leaked: Mapping[str, Look]) -> list[str]:
    found: list[str] = []
    for name, look in leaked.items():
        left = look()
        if inspect.isawaitable(left):
            left = await left
        if left:
            found.append(f"{name}: {left!r}")
    return found


class _Trial:
    """One run, cancelled at one of its suspension points."""

    def __init__(self, point: int) -> None:
        self.cancelled_at: float | None = None
        self.ended_at = 0.0
        self._point = point
        self._count = 0
        self._scope = anyio.CancelScope()
        self._tasks: list[asyncio.Task[Any]] = []
        self._told = False
        self._error: Exception | None = None

    async def run(self, make: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Runs it. Raises what it raises, where it was not cancelled."""
        with _counting(self):
            try:
                with self._scope:
                    await _driven(make(), self.suspended, self._tell)
            except Exception as error:
                if self.cancelled_at is None:
                    raise
                self._error = error
            finally:
                self.ended_at = time.perf_counter()

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Takes note of a task that came of the run."""
        self._tasks.append(task)

    def suspended(self) -> None:
        """Counts a suspension, and cancels the run at the right one."""
        self._count += 1
        # A task that outlives the run must not cancel it any more.
        if self._count == self._point and not self.ended_at:
            self.cancelled_at = time.perf_counter()
            self._scope.cancel()

    def _tell(self, error: BaseException) -> None:
        """Takes note of the cancellation, when it is thrown into the coroutine."""
        # Its message names the scope: scopes inside the coroutine have cancellations of their own.
        ours = f"{id(self._scope):x}" in str(error)
        self._told |= ours and isinstance(error, asyncio.CancelledError)

    def faults(self) -> list[str]:
        """What went wrong, and the tasks that are left; those are ended here."""
        found: list[str] = []
        if self._error is not None:
            found.append(f"raised {type(self._error).__name__}: {self._error}")
        elif self._told and not self._scope.cancelled_caught:
            found.append("the cancellation was swallowed")
        for task in self._tasks:
            if not task.done():
                found.append(f"the task {task.get_name()!r} is alive")
                task.cancel()
        return found


_current: ContextVar[_Trial | None] = ContextVar("sprint_agent_trial", default=None)
"""The trial that a task came of: a task's context is a copy of its maker's."""


@contextmanager
def _counting(trial: _Trial) -> Generator[None]:
    """While it lasts, the suspensions of tasks that come of this one count as the trial's."""
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    make: Callable[..., Any] = _plain_task if before is None else before

    def new_task(
        loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Future[Any]:
        context = options.get("context")
        ours = (_current.get() if context is None else context.get(_current)) is trial
        # The loop itself closes abandoned generators in tasks: those are no coroutines.
        if not (ours and inspect.iscoroutine(coroutine)):
            return make(loop, coroutine, **options)

        def end(_: asyncio.Task[Any]) -> None:
            # A task that is cancelled before its first step never gets to what it wraps.
            coroutine.close()

        task = make(loop, _counted(coroutine, trial.suspended), **options)
        task.add_done_callback(end)
        trial.adopt(task)
        return task

    token = _current.set(trial)
    loop.set_task_factory(new_task)
    try:
        yield
    finally:
        loop.set_task_factory(before)
        _current.reset(token)


def _plain_task(
    loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
) -> asyncio.Task[Any]:
    return asyncio.Task(coroutine, loop=loop, **options)


async def _counted(coroutine: Coroutine[Any, Any, T], suspended: Callable[[], None]) -> T:
    return await _driven(coroutine, suspended, lambda _: None)


@types.coroutine
def _driven(
    coroutine: Coroutine[Any, Any, T],
    suspended: Callable[[], None],
    thrown: Callable[[BaseException], None],
) -> Generator[Any, Any, T]:
    """Awaits a coroutine, and tells of each suspension and of all that is thrown into it."""
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            waits_for = coroutine.send(value) if error is None else coroutine.throw(error)
        except StopIteration as done:
            return done.value
        suspended()
        try:
            value, error = (yield waits_for), None
        except BaseException as one:  # whatever it is, it goes on into the coroutine
            thrown(one)
            error = one
