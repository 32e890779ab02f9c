"""Connections in several small pools."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest

pytest.importorskip("httpx2")

import httpx2

from sprint_agent.engines import connections
from sprint_agent.engines.connections import SplitPool
from sprint_agent.testing import FaultServer, Reset

pytestmark = pytest.mark.anyio


def client_of(server: FaultServer, pools: SplitPool) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=server.url, transport=pools, timeout=30)


async def test_requests_at_the_same_time_get_connections_of_several_pools(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "_POOL_CONNECTIONS", 2)
    pools = SplitPool(httpx2.create_ssl_context(), 2.0)
    async with FaultServer(lambda prompt: "") as server, client_of(server, pools) as client:
        async with AsyncExitStack() as stack:
            streams = [client.stream("GET", "/server_info") for _ in range(5)]
            responses = [await stack.enter_async_context(stream) for stream in streams]
            assert len(pools) == 3
            for response in responses:
                await response.aread()
        # What is not used is closed, except for one pool.
        assert len(pools) == 1
        before = server.connections
        for _ in range(5):
            assert (await client.get("/server_info")).status_code == 200
        assert server.connections == before
    assert len(pools) == 0


async def test_a_request_that_fails_or_is_cancelled_leaves_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "_POOL_CONNECTIONS", 1)
    pools = SplitPool(httpx2.create_ssl_context(), 2.0)
    async with FaultServer(lambda prompt: "") as server, client_of(server, pools) as client:
        server.fail(Reset(path="/health"))
        with pytest.raises(httpx2.HTTPError):
            await client.get("/health")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await client.get("/health")
        for _ in range(3):
            await client.get("/health")
        assert len(pools) == 1
