"""A request that is cancelled, at whatever step, leaves nothing in the engine and the server."""

from __future__ import annotations

import anyio
import pytest

from sprint_agent.engine import Finish, Request
from sprint_agent.testing import FaultServer, Slow, cancel_everywhere
from tests.unit.engines.sglang_kit import GREEDY, PROMPT, aborted, engine_of, serving

pytestmark = pytest.mark.anyio


async def left_in(server: FaultServer) -> int:
    """How many requests the server still answers, when it has had time to read what was sent."""
    with anyio.move_on_after(5):
        await server.until(lambda: server.in_flight == 0)
    return server.in_flight


@pytest.mark.parametrize("fresh", [True, False])
async def test_cancelling_a_request_everywhere(fresh: bool) -> None:
    """On a separate connection, and on one that all runs share."""
    finished: set[str] = set()

    async def run() -> None:
        if fresh:
            async with engine_of(server) as own:
                await read(own)
        else:
            await read(engine)

    async def read(one) -> None:  # type: ignore[no-untyped-def]
        request = Request(PROMPT, GREEDY)
        async with one.generate(request) as stream:
            async for event in stream:
                if isinstance(event, Finish):
                    finished.add(request.request_id)

    async def forgotten() -> set[str]:
        # Aborts are sent and not waited for.
        with anyio.move_on_after(5):
            await server.until(lambda: set(server.rids) <= finished | set(aborted(server)))
        return set(server.rids) - finished - set(aborted(server))

    # Events that come one by one are read one by one.
    slow = Slow(0.002, times=None)
    async with serving(slow, answer="an answer") as server, engine_of(server) as engine:
        report = await cancel_everywhere(
            run,
            leaked={
                "in the engine": lambda: engine.in_flight,
                "in the server": lambda: left_in(server),
                "neither finished nor aborted": forgotten,
            },
        )
    assert report.ok, str(report)
    assert report.points > 10
    assert report.slowest < 1
    # Some were cancelled when they were under way, and some after they had finished.
    assert aborted(server)
    assert finished
