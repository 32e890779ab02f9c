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
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import anyio
import tenacity

from sprint_agent import events, retry
from sprint_agent.engine import Delta, Engine, ExecutorCard, Finish, Request, Sampling
from sprint_agent.errors import BudgetExhausted, EngineError, TruncatedStream
from sprint_agent.protocol.context import Snapshot, replace_surrogates
from sprint_agent.protocol.deltas import EncodableDeltas
from sprint_agent.runtime.account import RunAccount, UsageCounter
from sprint_agent.runtime.budget import Grant
from sprint_agent.runtime.cancellation import raise_if_cancelled
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
        gates: What a request of the planner, and one of an executor, must enter before it is sent.
            Empty if requests are not bounded.
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
        gates: Sequence[anyio.Semaphore] = (),
    ) -> None:
        self.gates = gates
        self.planner_engine: Engine = engines[0]
        self.executor_engine: Engine = engines[1]
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
        self._retrying: AsyncIterator[tenacity.AttemptManager] | None = None
        self._tried: tenacity.AttemptManager | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        if self._current is not None:
            if self._current.failure is None:
                raise StopAsyncIteration
            await self._pause(self._current.failure)
        self._current = Attempt(self._calls, self._caller, first=self._current is None)
        return self._current

    async def _pause(self, failure: EngineError) -> None:
        """Waits before the next attempt. Raises the failure if no attempt may follow."""
        # An engine may fail because it was cancelled. Then the cancellation counts, not the failure.
        await raise_if_cancelled()
        # tenacity joins at the first failure: calls that succeed, nearly all, do not pay for it.
        if self._retrying is None or self._tried is None:
            self._retrying = aiter(
                retry.retrying(left=_seconds_left, spread=random.random, before_sleep=self._report)
            )
            self._tried = await anext(self._retrying)
        self._tried.retry_state.set_exception((type(failure), failure, failure.__traceback__))
        self._tried = await anext(self._retrying)

    def _report(self, error: EngineError, tries: int, pause: float) -> None:
        assert self._current is not None
        now, number = self._calls.now(), self._current.number
        reason = replace_surrogates(str(error))
        self._calls.emit(events.CallRetried(now, number, reason, pause))


class Attempt:
    """One attempt at a call."""

    def __init__(self, calls: EngineCalls, caller: _Caller, *, first: bool) -> None:
        self._calls = calls
        self._caller = caller
        self.first = first
        """Whether this is the first attempt at the call."""
        self.number: int = 0
        """The number of its call in the run, from 1. Set when the stream is opened."""
        self.failure: EngineError | None = None
        """Why it failed. Set when the stream is left."""

    def stream(
        self,
        context: Snapshot,
        sampling: Sampling,
        stop: tuple[str, ...],
        complaint: str | None = None,
    ) -> CallStream:
        """Calls the engine. Use it with `async with`: leaving the block ends the call.

        An EngineError inside the block ends the block, not the caller: the next attempt follows, or
        `attempts` raises the error. `complaint` says what was wrong with the turn that is repeated.

        Entering and leaving the block raises BudgetExhausted if no tokens are left.
        """
        return CallStream(self._calls, self._caller, self, context, sampling, stop, complaint)


class CallStream:
    """The deltas of one call: first those of the trace, if it has the call, then the engine's.

    `finish` is set after the last delta. It stays None if the reader leaves before.
    """

    def __init__(
        self,
        calls: EngineCalls,
        caller: _Caller,
        attempt: Attempt,
        context: Snapshot,
        sampling: Sampling,
        stop: tuple[str, ...],
        complaint: str | None,
    ) -> None:
        self._calls = calls
        self._caller = caller
        self._attempt = attempt
        self._context = context
        self._sampling = sampling
        self._stop = stop
        self._complaint = complaint
        self._grant: Grant | None = None
        self._recorded: RecordedCall | None = None
        self._read = 0
        self._request: AbstractAsyncContextManager[AsyncIterator[Delta | Finish]] | None = None
        self._events: AsyncIterator[Delta | Finish] | None = None
        self._gate: anyio.Semaphore | None = None
        self._encodable = EncodableDeltas()
        self._arrived = 0
        """How many tokens were received. A delta without ids is one."""
        self._charged = 0
        """The same, but a delta without ids is estimated by its length."""
        self._last: Finish | None = None
        self.number: int = 0
        self.finish: Finish | None = None

    async def __aenter__(self) -> Self:
        calls, caller, context = self._calls, self._caller, self._context
        prompt = digest(context)
        if calls.recorded is not None:
            self._recorded = calls.recorded.call(caller.stage, caller.number, prompt)
        prompt_tokens, wanted = len(context.ids or ()), self._sampling.max_tokens
        arrived = sum(map(_charge, self._recorded.deltas)) if self._recorded else 0
        self._grant = grant = await calls.account.reserve(
            prompt_tokens, wanted, _unseen(self._stop), arrived
        )
        if grant.most != wanted:
            self._sampling = replace(self._sampling, max_tokens=grant.most)
        self.number = self._recorded.number if self._recorded else calls.next_number()
        self._attempt.number = self.number
        who = (self.number, caller.stage, caller.number)
        calls.emit(events.CallStarted(calls.now(), *who, prompt, self._sampling, self._stop))
        caller.usage.begin(self.number, prompt_tokens)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        failure = exc if isinstance(exc, EngineError) else None
        try:
            if self._request is not None:
                await self._request.__aexit__(exc_type, exc, traceback)
        except EngineError as error:
            # An engine may translate here what its stream raised. But a cancellation, or an answer that
            # its reader has, counts more than an engine that fails while it is left.
            if exc is None:
                await raise_if_cancelled()
            elif isinstance(exc, Exception):
                failure = error
        finally:
            if self._gate is not None:
                self._gate.release()
            self._settle(failure)
        if failure is not None:
            self._attempt.failure = failure
            return True
        assert self._grant is not None
        bound, finish = self._grant.bound, self.finish
        if exc is None and finish and finish.reason == "length" and bound is not None:
            raise BudgetExhausted(bound)
        return False

    def _settle(self, failure: EngineError | None) -> None:
        assert self._grant is not None
        calls, finish = self._calls, self.finish
        used = self._caller.usage.end(self.number, finish.usage if finish else None)
        calls.account.settle(self._grant, used)
        reason = replace_surrogates(str(failure)) if failure else None
        calls.emit(events.CallEnded(calls.now(), self.number, finish, reason))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        # Nothing is awaited while the trace has more: what another execution does at that time must
        # not cut off what was recorded.
        if self._recorded is not None and self._events is None:
            if (delta := self._next_recorded(self._recorded)) is not None:
                return delta
            if self.finish is not None:
                raise StopAsyncIteration
        if self._events is None:
            # Opened here, not before: an engine that cannot be reached fails this attempt alone.
            self._events = await self._send()
        while (delta := await self._next_delta(self._events)) is None:
            if self.finish is not None:
                raise StopAsyncIteration
        return delta

    async def _next_delta(self, engine_events: AsyncIterator[Delta | Finish]) -> Delta | None:
        """Reads the engine's next event. Returns its delta, or None if it has none to give yet.

        Sets the finish. What an engine sends is made safe here, whichever engine it is: its text can be
        encoded, and its usage counts at least what was seen.
        """
        if self._last is not None:
            self.finish = self._last
            return None
        try:
            event = await anext(engine_events)
        except StopAsyncIteration:
            raise TruncatedStream(
                "the engine's stream ended without a finish reason: send the request again"
            ) from None
        if isinstance(event, Finish):
            finish = _with_recorded(event, self._recorded)
            prompt_tokens = len(self._context.ids or ())
            usage = finish.usage.plausible(prompt=prompt_tokens, completion=self._arrived)
            self._last = replace(finish, usage=usage)
            return self._encodable.flush()
        assert self._grant is not None
        charged = self._charged + _charge(event)
        if not self._grant.suffices(charged):
            await self._calls.account.extend(self._grant, charged)
        self._charged = charged
        self._arrived += len(event.ids) or 1
        self._caller.usage.receive(self.number, event)
        return self._encodable.feed(event)

    async def _send(self) -> AsyncIterator[Delta | Finish]:
        """Sends the request to the engine, and opens its stream."""
        calls, number = self._calls, self._caller.number
        request = Request(
            self._context.prompt,
            self._sampling,
            self._stop,
            run=calls.account.tag,
            executors=calls.cards,
            complaint=self._complaint,
        )
        engine = calls.planner_engine if number is None else calls.executor_engine
        if calls.gates:
            gate = calls.gates[0 if number is None else 1]
            await gate.acquire()
            self._gate = gate
        opening = engine.generate(_continued(request, self._recorded))
        stream = await opening.__aenter__()
        self._request = opening
        return stream

    def _next_recorded(self, recorded: RecordedCall) -> Delta | None:
        """Returns the next delta of the trace. None after the last one, and then sets the finish."""
        if self._read < len(recorded.deltas):
            delta = recorded.deltas[self._read]
            self._read += 1
            self._arrived += len(delta.ids) or 1
            self._charged += _charge(delta)
            self._caller.usage.receive(self.number, delta)
            return delta
        if recorded.error is not None:
            raise EngineError(recorded.error, transient=True, retry_after=0.0)
        self.finish = recorded.finish
        return None


def _charge(delta: Delta) -> int:
    """Returns how many tokens a delta is charged with. Without ids that is an estimate."""
    return len(delta.ids) or max(1, len(delta.text) // 4)


def _unseen(stop: tuple[str, ...]) -> int:
    """Returns how many tokens an engine may have generated at most that it has not handed over.

    They are those of a stop string, which is held back, of half a character, and the id that ends the
    answer.
    """
    return max((len(text.encode()) for text in stop), default=0) + 4


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
