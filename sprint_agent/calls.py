"""Calls to the engine: tokens are reserved before one is sent and counted when it has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sprint_agent.context import Snapshot
from sprint_agent.engines.base import Delta, Engine, Finish, Request, Sampling, TokenUsage
from sprint_agent.errors import TruncatedStream
from sprint_agent.limits import TokenLedger
from sprint_agent.result import add


class OutOfTokens(Exception):
    """The run's token budget is used up. Internal: it becomes a limit, or a failed execution."""


class Tally:
    """What the calls on one account have cost so far, the one under way included."""

    def __init__(self) -> None:
        self._ended: list[TokenUsage] = []
        self._prompt_tokens = self._arrived = 0

    @property
    def usage(self) -> TokenUsage:
        """The sum of all calls. Of a call that was left early, what had arrived counts."""
        return add([*self._ended, self._open])

    @property
    def _open(self) -> TokenUsage:
        return TokenUsage(self._prompt_tokens, self._arrived)

    def begin(self, prompt_tokens: int) -> None:
        """A call is sent."""
        self._prompt_tokens = prompt_tokens

    def receive(self, delta: Delta) -> None:
        """A delta has come. Without ids, it counts as one token until the engine says better."""
        self._arrived += len(delta.ids) or 1

    def end(self, usage: TokenUsage | None) -> int:
        """A call has ended, with the engine's own count or without; returns its tokens."""
        self._ended.append(usage or self._open)
        self._prompt_tokens = self._arrived = 0
        return self._ended[-1].completion_tokens


class Caller:
    """Calls the engine of a run on the run's token budget."""

    def __init__(self, engine: Engine, ledger: TokenLedger) -> None:
        self._engine = engine
        self._ledger = ledger

    async def stream(
        self,
        context: Snapshot,
        sampling: Sampling,
        stop: tuple[str, ...],
        tally: Tally,
        receive: Callable[[Delta], bool],
    ) -> Finish | None:
        """Sends one request and hands each delta to `receive`, which says whether to go on.

        Returns the finish, or None where `receive` had enough. Raises OutOfTokens where the budget
        ends the call, and what the engine raises.
        """
        granted = self._ledger.reserve(sampling.max_tokens)
        if granted == 0:
            raise OutOfTokens
        request = Request(context.prompt, replace(sampling, max_tokens=granted), stop)
        finish: Finish | None = None
        tally.begin(len(context.ids or ()))
        try:
            finish = await self._read(request, tally, receive)
        finally:
            used = tally.end(finish.usage if finish else None)
            self._ledger.settle(granted, used)
        if finish and finish.reason == "length" and granted < sampling.max_tokens:
            raise OutOfTokens
        return finish

    async def _read(
        self, request: Request, tally: Tally, receive: Callable[[Delta], bool]
    ) -> Finish | None:
        async with self._engine.generate(request) as stream:
            async for event in stream:
                if isinstance(event, Finish):
                    return event
                tally.receive(event)
                if not receive(event):
                    return None
        raise TruncatedStream("the engine's stream ended without a finish: try again")
