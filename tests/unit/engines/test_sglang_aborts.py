"""Aborts are sent and not waited for."""

from __future__ import annotations

import time

import anyio
import pytest

pytest.importorskip("httpx2")

from sprint_agent.engines.sglang.aborts import AbortSender
from sprint_agent.testing import FaultServer, Stall
from tests.unit.engines.sglang_kit import aborted, serving

pytestmark = pytest.mark.anyio


async def test_all_aborts_arrive() -> None:
    ids = [f"{number:032}" for number in range(50)]
    async with serving() as server:
        sender = AbortSender(server.url)
        for request_id in ids:
            sender.send(request_id)
        await server.until(lambda: len(aborted(server)) == len(ids))
        await sender.close()
    assert sorted(aborted(server)) == ids


async def test_what_is_under_way_is_sent_although_the_sender_is_closed() -> None:
    async with serving() as server:
        sender = AbortSender(server.url)
        sender.send("a" * 32)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await sender.close()
        await server.until(lambda: aborted(server))


async def test_a_server_that_does_not_answer_is_not_waited_for() -> None:
    async with serving() as server:
        server.fail(Stall(path="/abort_request", times=None))
        sender = AbortSender(server.url)
        began = time.monotonic()
        for number in range(50):
            sender.send(f"{number:032}")
        sent = time.monotonic()
        await sender.close()
        assert sent - began < 0.5
        assert time.monotonic() - sent < 0.9


async def test_nothing_is_raised_without_a_server_or_after_the_end() -> None:
    async with FaultServer(lambda prompt: "") as server:
        pass
    sender = AbortSender(server.url)
    sender.send("a" * 32)
    await sender.close()
    sender.send("b" * 32)
