"""Checks that a coroutine cleans up after itself, at whatever point it is cancelled.

    async def run() -> None:
        await Sprint(engine, executors=[search]).solve("What?")

    report = await cancel_everywhere(run, leaked={"requests": lambda: engine.in_flight})
    assert report.ok, str(report)

It works on asyncio, where it counts the steps of tasks. It cancels with a cancel scope of anyio.
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

LeakCheck = Callable[[], object | Awaitable[object]]
"""Returns what is left over, or an awaitable of it. A false value means that nothing is."""


@dataclass(frozen=True, slots=True)
class Leak:
    """What was left over or went wrong after a cancellation."""

    point: int
    """The suspension point of the cancellation, from 1. It is 0 for the run that was not cancelled."""
    what: str
    """A description in one line."""


@dataclass(frozen=True, slots=True)
class CancelReport:
    """What `cancel_everywhere` found."""

    points: int
    """At how many suspension points it cancelled, in one run each."""
    leaks: tuple[Leak, ...]
    slowest: float
    """The longest time that a run took to end after it was cancelled, in seconds."""
    complete: bool = True
    """Whether these were all suspension points."""

    @property
    def ok(self) -> bool:
        """True if every point was tried and nothing was left over at any of them."""
        return self.complete and not self.leaks

    def __str__(self) -> str:
        lines = [f"at point {leak.point}: {leak.what}" for leak in self.leaks]
        if not self.complete:
            lines.append(f"incomplete: stopped after {self.points} points")
        return "\n".join([*lines, f"{self.points} points, {len(self.leaks)} leaks"])


async def cancel_everywhere(
    make: Callable[[], Coroutine[object, object, object]],
    *,
    leaked: Mapping[str, LeakCheck] | None = None,
    max_points: int = 10_000,
) -> CancelReport:
    """Runs `make()` once for each of its suspension points, and cancels it there.

    At a suspension point, the coroutine or a task that it started waits or lets others run. The
    first run is cancelled at the first point, the second run at the second point, and so on, until
    a run reaches its end. So each run should do the same, and should be quick.

    These are leaks: a task that outlives its run, a cancellation that was swallowed or became
    another exception, and whatever `leaked` finds after a run.

    Args:
        make: Makes the coroutine of one run.
        leaked: Checks by name. They are called after each run, and awaited if they are async.
            A true value describes what is left over.
        max_points: After this many points the check gives up, and the report is not complete.

    What the coroutine raises without being cancelled is raised here.
    """
    leaks: list[Leak] = []
    slowest = 0.0
    for point in range(1, max_points + 1):
        trial = _Trial(point)
        await trial.run(make)
        problems = [*trial.problems(), *await _left_over(leaked or {})]
        if trial.cancelled_at is None:
            leaks += [Leak(0, what) for what in problems]
            return CancelReport(point - 1, tuple(leaks), slowest)
        leaks += [Leak(point, what) for what in problems]
        slowest = max(slowest, trial.ended_at - trial.cancelled_at)
    return CancelReport(max_points, tuple(leaks), slowest, complete=False)


async def _left_over(leaked: Mapping[str, LeakCheck]) -> list[str]:
    problems: list[str] = []
    for name, check in leaked.items():
        left = check()
        if inspect.isawaitable(left):
            left = await left
        if left:
            problems.append(f"{name}: {left!r}")
    return problems


class _Trial:
    """One run that is cancelled at one suspension point."""

    def __init__(self, point: int) -> None:
        self.cancelled_at: float | None = None
        self.ended_at = 0.0
        self._point = point
        self._count = 0
        self._scope = anyio.CancelScope()
        self._tasks: list[asyncio.Task[object]] = []
        self._cancellation_thrown = False
        self._error: Exception | None = None

    async def run(self, make: Callable[[], Coroutine[object, object, object]]) -> None:
        """Runs the coroutine. Raises what it raises if it was not cancelled."""
        with _counting(self):
            try:
                with self._scope:
                    await _driven(make(), self.suspended, self._thrown)
            except Exception as error:
                if self.cancelled_at is None:
                    raise
                self._error = error
            finally:
                self.ended_at = time.perf_counter()

    def adopt(self, task: asyncio.Task[object]) -> None:
        """Records a task that the run started."""
        self._tasks.append(task)

    def suspended(self) -> None:
        """Counts a suspension, and cancels the run at its point."""
        self._count += 1
        # A task that outlives the run must not cancel it after its end.
        if self._count == self._point and not self.ended_at:
            self.cancelled_at = time.perf_counter()
            self._scope.cancel()

    def _thrown(self, error: BaseException) -> None:
        """Records that the cancellation of this trial was thrown into the coroutine."""
        # The message names the scope. Scopes inside the coroutine have their own cancellations.
        ours = f"{id(self._scope):x}" in str(error)
        self._cancellation_thrown |= ours and isinstance(error, asyncio.CancelledError)

    def problems(self) -> list[str]:
        """Returns what went wrong and which tasks are still alive. It also cancels these tasks."""
        problems: list[str] = []
        if self._error is not None:
            problems.append(f"raised {type(self._error).__name__}: {self._error}")
        elif self._cancellation_thrown and not self._scope.cancelled_caught:
            problems.append("the cancellation was swallowed")
        for task in self._tasks:
            if not task.done():
                problems.append(f"the task {task.get_name()!r} is alive")
                task.cancel()
        return problems


_current: ContextVar[_Trial | None] = ContextVar("sprint_agent_trial", default=None)
"""The trial that a task belongs to. A task inherits it, with the context of its creator."""


@contextmanager
def _counting(trial: _Trial) -> Generator[None]:
    """Counts the suspensions of all tasks that the current task starts, for the trial."""
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    make_task: Callable[..., Any] = _plain_task if before is None else before

    def new_task(
        loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Future[Any]:
        context = options.get("context")
        ours = (_current.get() if context is None else context.get(_current)) is trial
        # The loop itself closes abandoned generators in tasks. These are not coroutines.
        if not (ours and inspect.iscoroutine(coroutine)):
            return make_task(loop, coroutine, **options)

        def end(_: asyncio.Task[object]) -> None:
            # A task that is cancelled before its first step never starts the wrapped coroutine.
            coroutine.close()

        task = make_task(loop, _counted(coroutine, trial.suspended), **options)
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


async def _counted(coroutine: Coroutine[object, object, T], suspended: Callable[[], None]) -> T:
    return await _driven(coroutine, suspended, lambda _: None)


@types.coroutine
def _driven(
    coroutine: Coroutine[object, object, T],
    suspended: Callable[[], None],
    thrown: Callable[[BaseException], None],
) -> Generator[object, object, T]:
    """Awaits a coroutine. Reports each suspension and each exception that is thrown into it."""
    value: object = None
    error: BaseException | None = None
    while True:
        try:
            waits_for = coroutine.send(value) if error is None else coroutine.throw(error)
        except StopIteration as done:
            return done.value
        suspended()
        try:
            value, error = (yield waits_for), None
        except BaseException as exception:  # of any type: it is passed on to the coroutine
            thrown(exception)
            error = exception
