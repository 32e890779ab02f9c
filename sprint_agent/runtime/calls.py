"""Calls to the engine: tokens are reserved before one is sent and counted when it has ended.

This is the one place where a call is retried (`retry` has the rules), and where a resumed run takes
what its trace holds instead of calling again.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import anyio

from sprint_agent import events, retry
from sprint_agent.engine import Delta, Engine, ExecutorCard, Finish, Request, Sampling
from sprint_agent.errors import BudgetExhausted, EngineError, TruncatedStream
from sprint_agent.protocol.context import Snapshot
from sprint_agent.result import Execution, Prompt, Result, Stage
from sprint_agent.runtime.account import RunAccount, UsageCounter


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls, and how: the planner of a stage (`number` None), or one of its executions.

    `complaint` is what was wrong with the last try at the same turn.
    """

    stage: int
    number: int | None
    sampling: Sampling
    stop: tuple[str, ...]
    complaint: str | None = None


class Reader(Protocol):
    """Whoever reads a call's answer. `tally` is the account that the call goes on."""

    @property
    def tally(self) -> UsageCounter: ...

    def context(self) -> Snapshot:
        """What the next try goes on from."""
        ...

    def receive(self, delta: Delta, call: int) -> bool:
        """Takes the next delta; says whether to go on."""
        ...

    def discard(self) -> None:
        """Forgets what the failed try wrote."""
        ...


@dataclass(slots=True)
class RecordedCall:
    """A call as a trace holds it; without finish and error, it was `left` early or cut off."""

    prompt: str
    deltas: list[Delta]
    finish: Finish | None = None
    error: str | None = None
    left: bool = False


@dataclass(frozen=True, slots=True)
class RecordedExecution:
    """An execution as a trace holds it: what it came to, and the events on the way there."""

    execution: Execution
    events: tuple[events.Event, ...]


class Recorded(Protocol):
    """What an earlier part of this run did, from its trace."""

    @property
    def seconds(self) -> float:
        """How long that part had gone on."""
        ...

    @property
    def result(self) -> Result | None:
        """What the run came to, if it had ended."""
        ...

    @property
    def events(self) -> tuple[events.Event, ...]:
        """All that it had reported."""
        ...

    def taking(self) -> AbstractContextManager[None]:
        """Around taking something and reporting it anew."""
        ...

    def execution(self, stage: int, prompt: Prompt) -> RecordedExecution | None:
        """The recorded execution of a prompt, if it had ended."""
        ...

    def stage(self, number: int) -> Stage | None:
        """The recorded stage, if it had ended, unless this run plans it anew."""
        ...

    def nested(self, stage: int, number: int, question: str) -> Recorded | None:
        """The next recorded run of that question inside the execution, which had not ended."""
        ...

    def call(self, stage: int, number: int | None, prompt: str) -> RecordedCall | None:
        """The next recorded call of that planner or execution, if it went on from `prompt`."""
        ...


def prompts(recorded: Iterable[events.Event]) -> int:
    """How many executions `recorded` tells of, those of nested runs included."""
    own = (event.event if isinstance(event, events.NestedEvent) else event for event in recorded)
    return sum(isinstance(event, events.PromptReady) for event in own)


def digest(context: Snapshot) -> str:
    """What a trace knows a prompt by."""
    return hashlib.blake2b(context.text.encode(), digest_size=12).hexdigest()


class Caller:
    """Calls the engine of a run on the run's budget.

    `executors` are those of the run.
    """

    def __init__(
        self,
        engine: Engine,
        account: RunAccount,
        emit: Callable[[events.Event], None],
        now: Callable[[], float],
        *,
        executors: tuple[ExecutorCard, ...] = (),
        recorded: Recorded | None = None,
    ) -> None:
        self._engine = engine
        self._account = account
        self._emit = emit
        self._now = now
        self._executors = executors
        self._recorded = recorded
        self._calls = 0

    async def stream(self, call: Call, reader: Reader) -> Finish | None:
        """Sends a request, again where it fails for a while only, and hands its deltas to `reader`.

        Returns the finish, or None where the reader had enough. Raises Exhausted where the budget
        ends the call, and what the engine raises.
        """
        tries = 0
        while True:
            tries += 1
            self._calls += 1
            number = self._calls
            try:
                return await self._once(number, call, reader)
            except EngineError as error:
                left = anyio.current_effective_deadline() - anyio.current_time()
                pause = retry.pause(error, tries, left, random.random())
                if pause is None:
                    raise
                self._emit(events.CallRetried(self._now(), number, str(error), pause))
                reader.discard()
            # What a trace holds is read in one go: a stage that ended early must not cut it short.
            if pause > 0:
                await anyio.sleep(pause)

    def repeat(self, recorded: Iterable[events.Event]) -> None:
        """Reports anew what an execution of an earlier part of this run did."""
        numbers: dict[int, int] = {}
        for event in recorded:
            match event:
                case events.CallStarted():
                    self._calls += 1
                    numbers[event.call] = self._calls
                    event = replace(event, call=self._calls)
                case events.CallEnded() | events.CallRetried() | events.ExecutionText():
                    event = replace(event, call=numbers[event.call])
                case _:
                    pass
            self._emit(event)

    async def _once(self, number: int, call: Call, reader: Reader) -> Finish | None:
        context = reader.context()
        grant = await self._account.reserve(len(context.ids or ()), call.sampling.max_tokens)
        sampling = replace(call.sampling, max_tokens=grant.tokens)
        started = events.CallStarted(
            self._now(), number, call.stage, call.number, digest(context), sampling, call.stop
        )
        self._emit(started)
        finish: Finish | None = None
        failure: str | None = None
        reader.tally.begin(number, len(context.ids or ()))
        try:
            request = Request(
                context.prompt,
                sampling,
                call.stop,
                run=self._account.tag,
                executors=self._executors,
                complaint=call.complaint,
            )
            finish = await self._read(request, started, reader)
        except EngineError as error:
            failure = str(error)
            raise
        finally:
            used = reader.tally.end(number, finish.usage if finish else None)
            self._account.settle(grant, used)
            self._emit(events.CallEnded(self._now(), number, finish, failure))
        if finish and finish.reason == "length" and grant.bound is not None:
            raise BudgetExhausted(grant.bound)
        return finish

    async def _read(
        self, request: Request, started: events.CallStarted, reader: Reader
    ) -> Finish | None:
        before: list[Delta] = []
        if self._recorded is not None:
            with self._recorded.taking():
                recorded = self._recorded.call(started.stage, started.number, started.prompt)
                for delta in recorded.deltas if recorded else ():
                    before.append(delta)
                    reader.tally.receive(started.call, delta)
                    if not reader.receive(delta, started.call):
                        return None
            if recorded is not None and recorded.error is not None:
                raise EngineError(recorded.error, transient=True, retry_after=0.0)
            if recorded is not None and recorded.finish is not None:
                return recorded.finish
            request = _after(request, before)
        async with self._engine.generate(request) as stream:
            async for event in stream:
                if isinstance(event, Finish):
                    return _with(event, before)
                reader.tally.receive(started.call, event)
                if not reader.receive(event, started.call):
                    return None
        raise TruncatedStream("the engine's stream ended without a finish: try again")


def _count(deltas: list[Delta]) -> int:
    return sum(len(delta.ids) or 1 for delta in deltas)


def _after(request: Request, deltas: list[Delta]) -> Request:
    """The request that goes on where a recorded answer was cut off."""
    if isinstance(request.prompt, str):
        prompt: tuple[int, ...] | str = request.prompt + "".join(delta.text for delta in deltas)
    else:
        prompt = (*request.prompt, *(token for delta in deltas for token in delta.ids))
    room = max(1, request.sampling.max_tokens - _count(deltas))
    return replace(request, prompt=prompt, sampling=replace(request.sampling, max_tokens=room))


def _with(finish: Finish, deltas: list[Delta]) -> Finish:
    """The finish of a call whose first deltas came from a trace."""
    before = _count(deltas)
    usage = replace(
        finish.usage,
        prompt_tokens=max(0, finish.usage.prompt_tokens - before),
        completion_tokens=finish.usage.completion_tokens + before,
    )
    return replace(finish, usage=usage) if deltas else finish
