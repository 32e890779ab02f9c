"""Run: a question that is being answered, as its reader sees it."""

from __future__ import annotations

from typing import Self

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from sprint_agent import events
from sprint_agent.result import Result


class Run:
    """A running question. Iterate over it for its events."""

    def __init__(self, received: MemoryObjectReceiveStream[events.Event | Exception]) -> None:
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
                "the run ended when its block was left: read its events and its result inside "
                "`async with agent.stream(…) as run`"
            ) from error
        if isinstance(event, Exception):
            self._error = event
            raise event
        if isinstance(event, events.RunEnded):
            self._result = event.result
        return event

    async def result(self) -> Result:
        """Waits for the result of the run. Events that were not read yet are skipped.

        Raises:
            QuestionError, EngineError, PlanError, TraceError: As `Sprint.solve`.
            RuntimeError: The run's block was left before the run ended.
        """
        if self._result is None:
            async for _ in self:
                pass
        assert self._result is not None
        return self._result
