"""Calls to the engine: reserve tokens, send, try again after a transient failure, settle.

    async for attempt in calls.attempts(stage, number, usage):
        async with attempt.stream(context, sampling, stop) as deltas:
            async for delta in deltas:
                ...
            finish = deltas.finish

This is the one place where a call is sent again. `retry` has the rules. A resumed run reads here what
its trace recorded, and calls the engine only for the rest.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Self

import anyio
import tenacity

from sprint_agent import events, retry
from sprint_agent.engine import Delta, Engine, ExecutorCard, Finish, Request, Sampling
from sprint_agent.errors import BudgetExhausted, EngineError, TruncatedStream
from sprint_agent.protocol.context import Snapshot
from sprint_agent.runtime.account import RunAccount, UsageCounter
from sprint_agent.runtime.recorded import Recorded, RecordedCall, digest


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who calls: the planner of a stage (`number` is None) or one of the stage's executions."""

    stage: int
    number: int | None
    usage: UsageCounter


class EngineCalls:
    """The calls that one run sends to its engines, on the run's budget.

    Args:
        engines: The planner's engine and the executors'. They can be the same.
        cards: What a prompted chat model is told about the run's executors.
        recorded: What an earlier part of the run did, if the run was resumed.
    """

    def __init__(
        self,
        engines: tuple[Engine, Engine],
        account: RunAccount,
        emit: Callable[[events.Event], None],
        now: Callable[[], float],
        *,
        cards: tuple[ExecutorCard, ...] = (),
        recorded: Recorded | None = None,
    ) -> None:
        self.planner_engine, self.executor_engine = engines
        self.account = account
        self.emit = emit
        self.now = now
        self.cards = cards
        self.recorded = recorded
        self._numbers = recorded.last_call if recorded else 0

    def attempts(self, stage: int, number: int | None, usage: UsageCounter) -> Attempts:
        """Returns attempts at one call, to iterate over until one succeeds.

        `number` is None for the planner. What the call costs is counted in `usage`. The iteration
        raises EngineError if the last attempt failed, or if one failed for good.
        """
        return Attempts(self, _Caller(stage, number, usage))

    def next_number(self) -> int:
        """Returns the number of the next call that no trace holds."""
        self._numbers += 1
        return self._numbers


class Attempts:
    """Attempts at one call. An iterator and no generator: one that is left needs no closing."""

    def __init__(self, calls: EngineCalls, caller: _Caller) -> None:
        self._calls = calls
        self._caller = caller
        self._current: Attempt | None = None
        self._retrying = aiter(
            retry.retrying(left=_seconds_left, spread=random.random, before_sleep=self._report)
        )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        self._current = Attempt(self._calls, self._caller, await anext(self._retrying))
        return self._current

    def _report(self, error: EngineError, tries: int, pause: float) -> None:
        assert self._current is not None
        retried = events.CallRetried(self._calls.now(), self._current.number, str(error), pause)
        self._calls.emit(retried)


class Attempt:
    """One attempt at a call. `number` is the number of its call in the run, once it has begun."""

    def __init__(self, calls: EngineCalls, caller: _Caller, tried: tenacity.AttemptManager) -> None:
        self._calls = calls
        self._caller = caller
        self._state = tried.retry_state
        self.number = 0

    @property
    def first(self) -> bool:
        """Whether this is the first attempt at the call."""
        return self._state.attempt_number == 1

    @asynccontextmanager
    async def stream(
        self,
        context: Snapshot,
        sampling: Sampling,
        stop: tuple[str, ...],
        complaint: str | None = None,
    ) -> AsyncGenerator[CallStream]:
        """Calls the engine and gives its deltas. Leaving the block ends the call.

        An EngineError inside the block ends the block, not the caller: the next attempt follows, or
        `attempts` raises the error. `complaint` says what was wrong with the turn that is repeated.

        Raises:
            BudgetExhausted: The budget of the run has no tokens left, or it ended the call.
        """
        calls, (stage, number) = self._calls, (self._caller.stage, self._caller.number)
        prompt = digest(context)
        recorded = calls.recorded.call(stage, number, prompt) if calls.recorded else None
        self.number = recorded.number if recorded else calls.next_number()
        grant = await calls.account.reserve(len(context.ids or ()), sampling.max_tokens)
        sampling = replace(sampling, max_tokens=grant.tokens)
        calls.emit(
            events.CallStarted(calls.now(), self.number, stage, number, prompt, sampling, stop)
        )
        request = Request(
            context.prompt,
            sampling,
            stop,
            run=calls.account.tag,
            executors=calls.cards,
            complaint=complaint,
        )
        usage = self._caller.usage
        usage.begin(self.number, len(context.ids or ()))
        failure: EngineError | None = None
        stream: CallStream | None = None
        try:
            async with AsyncExitStack() as stack:
                engine = calls.planner_engine if number is None else calls.executor_engine
                stream = CallStream(engine, request, recorded, stack, self.number, usage)
                yield stream
        except EngineError as error:
            failure = error
        finally:
            finish = stream.finish if stream else None
            calls.account.settle(grant, usage.end(self.number, finish.usage if finish else None))
            error = str(failure) if failure else None
            calls.emit(events.CallEnded(calls.now(), self.number, finish, error))
        self._tell(failure)
        if failure is None and finish and finish.reason == "length" and grant.bound is not None:
            raise BudgetExhausted(grant.bound)

    def _tell(self, failure: EngineError | None) -> None:
        """Tells tenacity how the attempt ended. It decides whether another one follows."""
        if failure is None:
            self._state.set_result(None)
        else:
            self._state.set_exception((type(failure), failure, failure.__traceback__))


class CallStream:
    """The deltas of one call: first those of the trace, if it has the call, then the engine's.

    `finish` is set after the last delta. It stays None if the reader leaves before.
    """

    def __init__(
        self,
        engine: Engine,
        request: Request,
        recorded: RecordedCall | None,
        stack: AsyncExitStack,
        number: int,
        usage: UsageCounter,
    ) -> None:
        self._engine = engine
        self._request = request
        self._recorded = recorded
        self._read = 0
        self._stack = stack
        self._usage = usage
        self._events: AsyncIterator[Delta | Finish] | None = None
        self.number = number
        self.finish: Finish | None = None

    def __aiter__(self) -> CallStream:
        return self

    async def __anext__(self) -> Delta:
        # Nothing is awaited while the trace has more: what another execution does at that time must
        # not cut off what was recorded.
        if (delta := self._next_recorded()) is not None:
            return delta
        if self.finish is not None:
            raise StopAsyncIteration
        if self._events is None:
            # Opened here, not before: an engine that cannot be reached fails this attempt alone.
            request = _continued(self._request, self._recorded)
            self._events = await self._stack.enter_async_context(self._engine.generate(request))
        try:
            event = await anext(self._events)
        except StopAsyncIteration:
            raise TruncatedStream(
                "the engine's stream ended without a finish reason: send the request again"
            ) from None
        if isinstance(event, Finish):
            self.finish = _with_recorded(event, self._recorded)
            raise StopAsyncIteration
        self._usage.receive(self.number, event)
        return event

    def _next_recorded(self) -> Delta | None:
        recorded = self._recorded
        if recorded is None or self._events is not None:
            return None
        if self._read < len(recorded.deltas):
            delta = recorded.deltas[self._read]
            self._read += 1
            self._usage.receive(self.number, delta)
            return delta
        if recorded.error is not None:
            raise EngineError(recorded.error, transient=True, retry_after=0.0)
        self.finish = recorded.finish
        return None


def _seconds_left() -> float:
    return anyio.current_effective_deadline() - anyio.current_time()


def _count(deltas: list[Delta]) -> int:
    return sum(len(delta.ids) or 1 for delta in deltas)


def _continued(request: Request, recorded: RecordedCall | None) -> Request:
    """Returns the request that continues a call which the end of its process cut off."""
    if recorded is None or not recorded.deltas:
        return request
    deltas = recorded.deltas
    if isinstance(request.prompt, str):
        prompt: tuple[int, ...] | str = request.prompt + "".join(delta.text for delta in deltas)
    else:
        prompt = (*request.prompt, *(token for delta in deltas for token in delta.ids))
    left = max(1, request.sampling.max_tokens - _count(deltas))
    return replace(request, prompt=prompt, sampling=replace(request.sampling, max_tokens=left))


def _with_recorded(finish: Finish, recorded: RecordedCall | None) -> Finish:
    """Returns the finish of a call whose first deltas came from a trace."""
    if recorded is None or not recorded.deltas:
        return finish
    before = _count(recorded.deltas)
    usage = replace(
        finish.usage,
        prompt_tokens=max(0, finish.usage.prompt_tokens - before),
        completion_tokens=finish.usage.completion_tokens + before,
    )
    return replace(finish, usage=usage)
