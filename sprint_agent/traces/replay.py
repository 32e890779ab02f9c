"""An engine that answers from a trace: tests of an application need no model, only one recorded run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import anyio.lowlevel

from sprint_agent.engine import AlwaysOpen, Delta, Finish, Request
from sprint_agent.errors import EngineError, TraceError
from sprint_agent.protocol.context import Snapshot
from sprint_agent.runtime.recorded import RecordedCall, digest
from sprint_agent.traces.trace import Trace


class TraceEngine(AlwaysOpen):
    """Answers each request as the trace's engine did when it was sent the same text, but at once.

    A request that its reader had left, as at the end of its stage, waits there to be left again.
    It takes text and has no tokenizer, whatever engine was recorded; so the limits on what a context
    may hold are not felt. Requests that the trace does not hold raise TraceError.
    """

    tokenizer = None
    context_length = None

    def __init__(self, trace: Trace) -> None:
        self._calls: dict[str, list[RecordedCall]] = {}
        for call in trace.calls():
            if call.finish is not None or call.error is not None or call.left or call.deltas:
                self._calls.setdefault(call.prompt, []).append(call)

    def generate(
        self, request: Request
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta | Finish]]:
        """Streams the recorded answer. Raises TraceError where there is none."""
        return self._generate(request)

    @asynccontextmanager
    async def _generate(self, request: Request) -> AsyncGenerator[AsyncGenerator[Delta | Finish]]:
        text = request.prompt if isinstance(request.prompt, str) else ""
        calls = self._calls.get(digest(Snapshot(text, None)))
        if not calls:
            raise TraceError(f"the trace holds no call that goes on from …{text[-80:]!r}")
        # The same prompt is sent again by a retry; the last answer serves all that come later.
        call = calls.pop(0) if len(calls) > 1 else calls[0]
        stream = _events(call)
        try:
            yield stream
        finally:
            await stream.aclose()


async def _events(call: RecordedCall) -> AsyncGenerator[Delta | Finish]:
    await anyio.lowlevel.checkpoint()
    # In one go: what a plan held when a success ended its stage must stand before that comes again.
    for event in _answer(call):
        yield event
    if call.left:
        await anyio.sleep_forever()


def _answer(call: RecordedCall) -> Iterator[Delta | Finish]:
    yield from call.deltas
    if call.error is not None:
        raise EngineError(call.error, transient=True, retry_after=0.0)
    if call.finish is not None:
        yield call.finish
