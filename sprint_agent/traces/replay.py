"""An engine that answers from a trace. Tests of an application then need one recorded run, no model."""

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
    """Answers each request at once, as the recorded engine answered the same text.

    If the reader of a recorded call left it early, for example because its stage ended, the answer
    stops at the same place and waits to be left again. The engine takes text and has no tokenizer,
    whatever engine was recorded, so no context is too long for it. A request that is not in the trace
    raises TraceError.
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
        """Streams the recorded answer.

        Raises:
            TraceError: The trace has no call with this prompt.
        """
        return self._generate(request)

    @asynccontextmanager
    async def _generate(self, request: Request) -> AsyncGenerator[AsyncGenerator[Delta | Finish]]:
        text = request.prompt if isinstance(request.prompt, str) else ""
        calls = self._calls.get(digest(Snapshot(text, None)))
        if not calls:
            raise TraceError(f"the trace contains no call with the prompt …{text[-80:]!r}")
        # A retry sends the same prompt again. The last answer is given to all later requests.
        call = calls.pop(0) if len(calls) > 1 else calls[0]
        stream = _events(call)
        try:
            yield stream
        finally:
            await stream.aclose()


async def _events(call: RecordedCall) -> AsyncGenerator[Delta | Finish]:
    await anyio.lowlevel.checkpoint()
    # Without a pause: a plan must be as complete as it was when a success ended its stage.
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
