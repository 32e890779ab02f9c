"""Sprint: what an application embeds. It owns an engine and its executors."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, get_args

import anyio
import anyio.lowlevel
from anyio.lowlevel import EventLoopToken

from sprint_agent import events
from sprint_agent.background import BackgroundTask
from sprint_agent.engine import Engine, Sampling
from sprint_agent.engines import EngineAddress, open_engine
from sprint_agent.join import FirstSuccess, Join
from sprint_agent.limits import Limits, Prices
from sprint_agent.result import Result
from sprint_agent.run import Run
from sprint_agent.runtime import loop
from sprint_agent.runtime.router import Router
from sprint_agent.runtime.scope import Dispatch, RunScope
from sprint_agent.task import Executor
from sprint_agent.traces.recorder import Recorder
from sprint_agent.traces.resume import ResumedRun

TracePath = str | os.PathLike[str]
T = TypeVar("T")
_Emit = Callable[[events.Event], None]
_CLAIMS = threading.Lock()
"""Guards the loops of agents: two threads can open the same agent at the same moment."""


class Sprint:
    """An agent: an engine, executors, and the settings of its runs.

        async with Sprint("http://127.0.0.1:30000", executors=[search]) as agent:
            result = await agent.solve("…")

    Any number of runs can be active at the same time. Outside `async with`, each call opens the engine
    for itself.

    Args:
        engine: An Engine, the URL of an SGLang server, `openai+URL#MODEL` for a chat model on an
            OpenAI-compatible server, or the folder of a Hugging Face model, which then runs in this
            process. With a sequence of engines, each run stays with one of them.
        executors: Who can work on prompts, besides the model.
        executor_engine: The engine that executors use to generate text. By default it is `engine`. With
            it, a large model can plan while a small one executes. `prices` then apply to both.
        limits: The limits of each run.
        dispatch: When an executor starts: at the closing tag of its prompt ("tag"), or when the plan is
            complete ("stage").
        join: When a stage ends: when all executions are done ("all"), or by `first_success(check)`.
        sampling: How the model's tokens are drawn.
        prices: What the engine's tokens cost, for `Limits.cost` and `Result.cost`.
        max_requests: The most requests that are open at an engine at the same time, over all runs of
            this agent. Others wait. None means that there is no bound.

    Raises:
        TypeError, ValueError: An argument is not what it must be.
        EngineUnavailable: The engine's extra is not installed.
    """

    def __init__(
        self,
        engine: EngineAddress | Sequence[EngineAddress],
        *,
        executors: Sequence[Executor] = (),
        executor_engine: EngineAddress | Sequence[EngineAddress] | None = None,
        limits: Limits = Limits(),
        dispatch: Dispatch = "tag",
        join: Join = "all",
        sampling: Sampling = Sampling(),
        prices: Prices | None = None,
        max_requests: int | None = None,
    ) -> None:
        _check(limits, join)
        if dispatch not in get_args(Dispatch):
            raise ValueError(f"dispatch must be 'tag' or 'stage', not {dispatch!r}")
        _check_type("sampling", sampling, Sampling)
        if prices is not None:
            _check_type("prices", prices, Prices)
        if max_requests is not None and max_requests < 1:
            raise ValueError(f"max_requests must be at least 1, not {max_requests}")
        self.engine: Engine = open_engine(engine)
        self.executor_engine: Engine = (
            self.engine if executor_engine is None else open_engine(executor_engine)
        )
        self._router = Router(executors)
        self._limits = limits
        self._dispatch: Dispatch = dispatch
        self._join: Join = join
        self._sampling = sampling
        self._prices = prices
        self._max_requests = max_requests
        self._gates: tuple[anyio.Semaphore, ...] = ()
        self._users = 0
        self._is_open = False
        self._loop: EventLoopToken | None = None
        self._opening = anyio.Lock()
        self._open = AsyncExitStack()

    def __repr__(self) -> str:
        executors = ", ".join(name for name in self._router.executors)
        state = f"open for {self._users}" if self._users else "closed"
        return f"<Sprint {state}: engine={self.engine!r} executors=[{executors}] {self._limits!r}>"

    async def __aenter__(self) -> Self:
        self._claim()
        try:
            async with self._opening:
                if not self._is_open:
                    self._gates = self._new_gates()
                    async with AsyncExitStack() as stack:
                        await stack.enter_async_context(self.engine)
                        if self.executor_engine is not self.engine:
                            await stack.enter_async_context(self.executor_engine)
                        self._open = stack.pop_all()
                    self._is_open = True
        except BaseException:
            self._users -= 1
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            async with self._opening:
                self._users -= 1
                if self._users == 0:
                    self._is_open = False
                    await self._open.__aexit__(exc_type, exc, traceback)

    def _claim(self) -> None:
        """Counts a user, and binds the agent to the current event loop while it has users.

        Raises:
            RuntimeError: It is open in another event loop, as the one of another thread.
        """
        current = anyio.lowlevel.current_token()
        with _CLAIMS:
            if self._users and self._loop != current:
                raise RuntimeError(
                    "the agent is open in another event loop: use one agent for each thread, or call "
                    "this one through `anyio.from_thread`"
                )
            self._loop = current
            self._users += 1

    def _new_gates(self) -> tuple[anyio.Semaphore, ...]:
        """Returns what each request of the planner's and of the executors' engine must enter."""
        if self._max_requests is None:
            return ()
        gate = anyio.Semaphore(self._max_requests)
        same = self.executor_engine is self.engine
        return gate, gate if same else anyio.Semaphore(self._max_requests)

    async def solve(
        self,
        question: str,
        *,
        join: Join | None = None,
        limits: Limits | None = None,
        trace: TracePath | None = None,
    ) -> Result:
        """Runs a question to its end.

        Args:
            question: What is to be solved.
            join: Replaces the agent's join policy for this run.
            limits: Limits of this run, within the agent's: of each limit the tighter one counts.
            trace: A file to which the run is written while it runs. See `resume`.

        Returns:
            The result. If a limit ended the run, `result.limit` names it, and the result contains what
            was finished by then.

        Raises:
            QuestionError: The question is empty or cannot be encoded.
            EngineError: The engine cannot be opened, or a call of the planner failed.
            PlanError: The planner wrote what cannot be run, and its repair cannot either.
            TraceError: The trace cannot be written.
        """
        async with self:
            with _recorder(trace) as record:
                return await self._run(question, join, limits, record)

    def solve_sync(
        self,
        question: str,
        *,
        join: Join | None = None,
        limits: Limits | None = None,
        trace: TracePath | None = None,
    ) -> Result:
        """Runs a question to its end from code that is not async. The arguments are those of `solve`.

        Raises:
            RuntimeError: An event loop is running in this thread, or the agent is open in another one.
            QuestionError, EngineError, PlanError, TraceError: As `solve`.
        """
        if self._users:
            raise RuntimeError(
                "the agent is open in an event loop: use `await agent.solve(…)` there"
            )
        return run_sync(partial(self.solve, question, join=join, limits=limits, trace=trace))

    def stream(
        self,
        question: str,
        *,
        join: Join | None = None,
        limits: Limits | None = None,
        trace: TracePath | None = None,
    ) -> AbstractAsyncContextManager[Run]:
        """Runs a question and gives its events. Entering the block begins the run, leaving it ends it.

            async with agent.stream("…") as run:
                async for event in run:
                    ...
                result = await run.result()

        The arguments are those of `solve`.

        Raises:
            EngineUnavailable: The engine cannot be opened. Raised when the block is entered.
            QuestionError, EngineError, PlanError, TraceError: As `solve`. Raised by the iteration.
        """
        return self._stream(question, join, limits, trace)

    async def resume(
        self, trace: TracePath, *, join: Join | None = None, limits: Limits | None = None
    ) -> Result:
        """Continues a run from its trace, after its process ended or a limit ended it.

        What was generated is not generated again, and executions that ended are not repeated.
        Executions that had only begun begin again. The clock continues where it stopped, and what the
        run used counts against its limits. The trace is continued in the same file. The agent must be
        configured like the one that began the run.

        Raises:
            TraceError: The file is not a trace, its run ended with an answer, or another run writes it.
            QuestionError, EngineError, PlanError: As `solve`.
        """
        async with self.stream_resume(trace, join=join, limits=limits) as run:
            return await run.result()

    def stream_resume(
        self, trace: TracePath, *, join: Join | None = None, limits: Limits | None = None
    ) -> AbstractAsyncContextManager[Run]:
        """Continues a run from its trace, as `resume`, and gives its events, as `stream`.

        The events begin with RunResumed. Then the run reports again what its trace contains.

        Raises:
            TraceError: As `resume`. Raised when the block is entered.
        """
        return self._stream(None, join, limits, trace)

    @asynccontextmanager
    async def _stream(
        self,
        question: str | None,
        join: Join | None,
        limits: Limits | None,
        trace: TracePath | None,
    ) -> AsyncGenerator[Run]:
        """Runs a question. If it is None, resumes the run of the trace."""
        async with self:
            resumed = _Resumption(trace) if question is None and trace is not None else None
            sent, received = anyio.create_memory_object_stream[events.Event | Exception](math.inf)

            async def drive() -> None:
                with sent:
                    try:
                        with resumed.recorder if resumed else _recorder(trace) as record:

                            def emit(event: events.Event) -> None:
                                record(event)
                                sent.send_nowait(event)

                            await self._run(question, join, limits, emit, resumed)
                    except Exception as error:
                        sent.send_nowait(error)

            # The stream is closed after the task: what is cancelled there still reports that.
            with received:
                async with BackgroundTask(drive):
                    yield Run(received)

    async def _run(
        self,
        question: str | None,
        join: Join | None,
        limits: Limits | None,
        emit: _Emit,
        resumed: _Resumption | None = None,
    ) -> Result:
        _check(limits or self._limits, join or self._join)
        recorded = resumed.run if resumed else None
        if recorded is not None:
            emit(events.RunResumed(recorded.seconds))
        scope = RunScope.open(
            engine=self.engine,
            executor_engine=self.executor_engine,
            router=self._router,
            limits=self._limits if limits is None else limits.within(self._limits),
            dispatch=self._dispatch,
            join=join or self._join,
            sampling=self._sampling,
            prices=self._prices,
            emit=emit,
            run=loop.run,
            recorded=recorded,
            gates=self._gates,
        )
        return await loop.run(scope, recorded.question if recorded else question or "")


class _Resumption:
    """A trace that is open to be continued, and what its run did so far."""

    def __init__(self, path: TracePath) -> None:
        self.recorder = Recorder.append(path)
        try:
            self.run = ResumedRun(self.recorder.trace)
        except BaseException:
            self.recorder.close()
            raise


def run_sync(call: Callable[[], Coroutine[object, object, T]]) -> T:
    """Runs a coroutine function in a new event loop.

    Raises:
        RuntimeError: An event loop is running in this thread already.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return anyio.run(call)
    raise RuntimeError(
        "an event loop is running in this thread: await `solve` in place of `solve_sync`"
    )


def _check(limits: object, join: object) -> None:
    """Raises TypeError or ValueError for limits or a join policy that are not what they must be."""
    _check_type("limits", limits, Limits)
    if isinstance(join, str):
        if join != "all":
            raise ValueError(f"join must be 'all' or first_success(check), not {join!r}")
    elif not isinstance(join, FirstSuccess):
        raise TypeError(f"join must be 'all' or first_success(check), not {join!r}")


def _check_type(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {kind.__name__}(…), not {value!r}")


def _ignore(event: events.Event) -> None:
    """Takes the events of a run that nobody watches."""


def _recorder(trace: TracePath | None) -> AbstractContextManager[_Emit]:
    return nullcontext(_ignore) if trace is None else Recorder(trace)
