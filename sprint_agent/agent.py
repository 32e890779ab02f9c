"""Sprint: what an application embeds. It owns an engine and its executors."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    nullcontext,
)
from types import TracebackType
from typing import Self

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from sprint_agent import events
from sprint_agent.engine import Sampling
from sprint_agent.engines import EngineAddress, open_engine
from sprint_agent.errors import TraceError
from sprint_agent.join import Join
from sprint_agent.limits import Limits, Prices
from sprint_agent.result import Result
from sprint_agent.runtime.loop import Loop
from sprint_agent.runtime.planner import Dispatch
from sprint_agent.runtime.router import Router
from sprint_agent.task import Executor
from sprint_agent.traces.trace import Recorder, Resumed, Trace

_Emit = Callable[[events.Event], None]
_Recorder = AbstractContextManager[_Emit]


def _ignore(event: events.Event) -> None:
    """Nobody watches."""


def _recorder(trace: str | os.PathLike[str] | None, replaces: Resumed | None = None) -> _Recorder:
    return nullcontext(_ignore) if trace is None else Recorder(trace, replaces)


class Run:
    """A run that is under way: iterate over it for its events."""

    def __init__(self, received: MemoryObjectReceiveStream[events.Event]) -> None:
        self._received = received
        self._result: Result | None = None
        self._error: Exception | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> events.Event:
        try:
            event = await self._received.receive()
        except anyio.EndOfStream:
            if self._error is not None:
                raise self._error from None
            raise StopAsyncIteration from None
        except anyio.ClosedResourceError as error:
            raise RuntimeError(
                "the run was ended as its block was left: ask for its events and its result inside of "
                "`async with agent.stream(…) as run`"
            ) from error
        if isinstance(event, events.RunEnded):
            self._result = event.result
        return event

    async def result(self) -> Result:
        """The result, once the run has ended; the events before it are passed over.

        Raises QuestionError, EngineError, PlanError and TraceError; RuntimeError where the run's block
        was left before it had ended.
        """
        if self._result is None:
            async for _ in self:
                pass
        assert self._result is not None
        return self._result

    def failed(self, error: Exception) -> None:
        """The run ended in `error`, which the iteration raises after its last event."""
        self._error = error


class Sprint:
    """An agent: an engine, executors, and how runs are made with them.

        async with Sprint("http://127.0.0.1:30000", executors=[search]) as agent:
            result = await agent.solve("…")

    `engine` is an Engine, the URL of an SGLang server, `openai+URL#MODEL` for a chat model on an
    OpenAI-compatible server, or the folder of a Hugging Face model, which is then run in this
    process; of several, each run stays with one. `dispatch` says when an executor starts: at the
    closing tag of its prompt ("tag") or when the plan is whole ("stage"). `join` says when a stage
    ends: when all executions are done ("all") or by `first_success(check)`. Any number of runs may
    go on at once.

    `prices` are what the engine's tokens cost, for `Limits.cost` and `Result.cost`.

    Outside of `async with`, `solve` and `run` open the engine for themselves.
    """

    def __init__(
        self,
        engine: EngineAddress | Sequence[EngineAddress],
        *,
        executors: Sequence[Executor] = (),
        limits: Limits = Limits(),
        dispatch: Dispatch = "tag",
        join: Join = "all",
        sampling: Sampling = Sampling(),
        prices: Prices | None = None,
    ) -> None:
        self.engine = open_engine(engine)
        self._routing = Router(executors)
        self._limits = limits
        self._dispatch: Dispatch = dispatch
        self._join: Join = join
        self._sampling = sampling
        self._prices = prices
        self._users = 0
        self._opening = anyio.Lock()

    async def __aenter__(self) -> Self:
        async with self._opening:
            if self._users == 0:
                await self.engine.__aenter__()
            self._users += 1
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
                    await self.engine.__aexit__(exc_type, exc, traceback)

    async def solve(
        self,
        question: str,
        *,
        join: Join | None = None,
        limits: Limits | None = None,
        trace: str | os.PathLike[str] | None = None,
    ) -> Result:
        """Runs `question` to its end. `join` and `limits` stand in for the agent's, where given.

        The run is written to the file `trace` as it goes, if there is one; see `resume`.

        Where a limit ended the run, the result says which, and holds what was finished.
        Raises QuestionError, EngineError, PlanError and TraceError.
        """
        async with self:
            with _recorder(trace) as record:
                return await self._loop(join, limits, record).run(question)

    def stream(
        self,
        question: str,
        *,
        join: Join | None = None,
        limits: Limits | None = None,
        trace: str | os.PathLike[str] | None = None,
    ) -> AbstractAsyncContextManager[Run]:
        """A run whose events can be watched. Entering the block begins it, leaving the block ends it.

        Raises EngineUnavailable as the block is entered, where the engine cannot be; the rest as
        `solve` does, when the run is iterated over.
        """
        return self._run(question, join, limits, trace)

    def resume(
        self,
        trace: str | os.PathLike[str],
        *,
        join: Join | None = None,
        limits: Limits | None = None,
    ) -> AbstractAsyncContextManager[Run]:
        """Goes on with a run whose process ended before it did, from its trace, as `run` does.

        What had been generated is not generated again, and no execution that had ended is repeated;
        executions that had begun are begun anew. The clock goes on where it stopped. The new trace
        takes the old one's place once it holds as much; a run that is left before, or comes to a
        limit, changes nothing. The agent is to be like the one that began the run.
        Raises TraceError, at once, for a file that holds no run or one that had ended.
        """
        found = Trace.read(trace)
        if found.result is not None:
            raise TraceError(f"the run of {trace} had ended: read its result from the trace")
        return self._run(found.question, join, limits, trace, Resumed(found))

    @asynccontextmanager
    async def _run(
        self,
        question: str,
        join: Join | None,
        limits: Limits | None,
        trace: str | os.PathLike[str] | None,
        resumed: Resumed | None = None,
    ) -> AsyncGenerator[Run]:
        failure: Exception | None = None
        async with self:
            sent, received = anyio.create_memory_object_stream[events.Event](math.inf)
            run = Run(received)

            async def drive() -> None:
                with sent:
                    try:
                        with _recorder(trace, resumed) as record:

                            def emit(event: events.Event) -> None:
                                record(event)
                                sent.send_nowait(event)

                            await self._loop(join, limits, emit, resumed).run(question)
                    except Exception as error:
                        run.failed(error)

            # Closed behind the group: what is cancelled there still reports that.
            with received:
                async with anyio.create_task_group() as group:
                    group.start_soon(drive)
                    try:
                        yield run
                    except Exception as error:
                        # Raised behind the group, which would wrap it into an exception group.
                        failure = error
                    group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _loop(
        self,
        join: Join | None,
        limits: Limits | None,
        emit: _Emit,
        resumed: Resumed | None = None,
    ) -> Loop:
        return Loop(
            engine=self.engine,
            routing=self._routing,
            limits=limits or self._limits,
            dispatch=self._dispatch,
            join=join or self._join,
            sampling=self._sampling,
            emit=emit,
            recorded=resumed,
            prices=self._prices,
        )
