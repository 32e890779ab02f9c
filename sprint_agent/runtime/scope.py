"""What all parts of one run share, and how a nested run is derived from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import anyio

from sprint_agent.engine import Engine, Sampling
from sprint_agent.events import Event
from sprint_agent.join import Join
from sprint_agent.limits import Limits, Prices
from sprint_agent.protocol.context import Context, Snapshot
from sprint_agent.result import Result
from sprint_agent.runtime.account import RunAccount, UsageCounter
from sprint_agent.runtime.calls import EngineCalls
from sprint_agent.runtime.recorded import Recorded
from sprint_agent.runtime.router import Router
from sprint_agent.runtime.slots import Slot
from sprint_agent.task import Nested

Dispatch = Literal["tag", "stage"]
"""When an executor starts: at the closing tag of its prompt, or when the plan is complete."""


@dataclass(frozen=True, slots=True)
class RunScope:
    """What all turns and executions of one run share."""

    engine: Engine
    """The planner's engine."""
    executor_engine: Engine
    """The engine of executors that generate text. It can be the planner's."""
    router: Router
    limits: Limits
    dispatch: Dispatch
    join: Join
    sampling: Sampling
    prices: Prices | None
    emit: Callable[[Event], None]
    """Takes what happens. It must not block."""
    now: Callable[[], float]
    """Returns the seconds since the run began."""
    account: RunAccount
    calls: EngineCalls
    recorded: Recorded | None
    """What an earlier part of the run did, if the run was resumed."""
    run: Callable[[RunScope, str], Awaitable[Result]]
    """Runs a question in a scope: `loop.run`, which this module cannot import."""

    @classmethod
    def open(
        cls,
        *,
        engine: Engine,
        executor_engine: Engine,
        router: Router,
        limits: Limits,
        dispatch: Dispatch,
        join: Join,
        sampling: Sampling,
        prices: Prices | None,
        emit: Callable[[Event], None],
        run: Callable[[RunScope, str], Awaitable[Result]],
        recorded: Recorded | None = None,
        account: RunAccount | None = None,
        gates: Sequence[anyio.Semaphore] = (),
    ) -> Self:
        """Begins a run: its clock starts now.

        `account` is given for a nested run. `gates` bound the requests at the planner's engine and at
        the executors', if they are bounded.
        """
        account = account or RunAccount.open(limits, prices)
        now = _stopwatch(recorded.seconds if recorded else 0.0)
        engines = (engine, executor_engine)
        calls = EngineCalls(
            engines, account, emit, now, cards=router.cards, recorded=recorded, gates=gates
        )
        return cls(
            engine=engine,
            executor_engine=executor_engine,
            router=router,
            limits=limits,
            dispatch=dispatch,
            join=join,
            sampling=sampling,
            prices=prices,
            emit=emit,
            now=now,
            account=account,
            calls=calls,
            recorded=recorded,
            run=run,
        )

    def nested(
        self,
        nested: Nested,
        slot: Slot,
        usage: UsageCounter,
        sampling: Sampling,
        emit: Callable[[Event], None],
        recorded: Recorded | None,
    ) -> RunScope:
        """Returns the scope of a run inside the execution that has `slot`.

        It shares the engines, the deadline and the budget of this run. Its usage is counted in `usage`.
        """
        return RunScope.open(
            engine=self.engine,
            executor_engine=self.executor_engine,
            router=Router(nested.executors),
            limits=nested.limits,
            dispatch=self.dispatch,
            join=nested.join,
            sampling=sampling,
            prices=self.prices,
            emit=emit,
            run=self.run,
            recorded=recorded,
            account=self.account.nested(slot, nested.limits, usage),
            gates=self.calls.gates,
        )

    def shares_tokenizer(self) -> bool:
        """Returns whether the ids of the planner's context are ids for the executors' engine."""
        return self.engine.tokenizer is self.executor_engine.tokenizer

    def executor_context(self, context: Snapshot) -> Snapshot:
        """Returns a context of the planner as the executors' engine reads it.

        An engine with another tokenizer gets the same text, tokenized by its own.
        """
        if self.shares_tokenizer():
            return context
        own = Context(self.executor_engine.tokenizer)
        own.append(context.text)
        return own.snapshot()

    def seeded(self, stage: int, number: int, call: int = 0) -> Sampling:
        """Returns the sampling of one call. If the run has a seed, each call gets its own seed."""
        if self.sampling.seed is None:
            return self.sampling
        mixed = (self.sampling.seed * 1_000_003 + stage * 10_007 + call * 101_009 + number) % 2**31
        return replace(self.sampling, seed=mixed)


def _stopwatch(elapsed: float) -> Callable[[], float]:
    """Returns the seconds since now, plus those that an earlier part of the run took."""
    # Each token asks for the time, and anyio's own function looks the event loop up each time.
    try:
        clock = asyncio.get_running_loop().time
    except RuntimeError:  # the event loop of another library, such as trio
        clock = anyio.current_time
    began = clock() - elapsed
    return lambda: clock() - began
