"""Connections to one server, in several small pools.

A pool of the HTTP library looks at all of its connections for each request that begins or ends. If
hundreds of runs reach their deadline at the same moment, that would take longer than all the rest.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import httpx2

_POOL_CONNECTIONS = 16
"""How many requests share a pool."""


class _Pool:
    """A pool, and how many requests use it."""

    def __init__(self, transport: httpx2.AsyncHTTPTransport) -> None:
        self.transport = transport
        self.requests = 0


class SplitPool(httpx2.AsyncBaseTransport):
    """Sends each request through the first pool that is not full.

    The number of connections is not limited: the caller limits the number of requests.
    """

    def __init__(self, certificates: ssl.SSLContext, keepalive_seconds: float) -> None:
        self._certificates = certificates
        self._limits = httpx2.Limits(
            max_connections=None,
            max_keepalive_connections=_POOL_CONNECTIONS,
            keepalive_expiry=keepalive_seconds,
        )
        self._pools: list[_Pool] = []

    def __len__(self) -> int:
        """How many pools there are."""
        return len(self._pools)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends a request."""
        pool = self._take()
        try:
            response = await pool.transport.handle_async_request(request)
        except BaseException:
            await self.give_back(pool)
            raise
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Body(response.stream, self, pool)
        return response

    async def aclose(self) -> None:
        """Closes all connections."""
        pools, self._pools = self._pools, []
        for pool in pools:
            await pool.transport.aclose()

    def _take(self) -> _Pool:
        for pool in self._pools:
            if pool.requests < _POOL_CONNECTIONS:
                break
        else:
            transport = httpx2.AsyncHTTPTransport(verify=self._certificates, limits=self._limits)
            pool = _Pool(transport)
            self._pools.append(pool)
        pool.requests += 1
        return pool

    async def give_back(self, pool: _Pool) -> None:
        """Ends a request, whose body was closed."""
        pool.requests -= 1
        if pool.requests == 0 and pool in self._pools[1:]:
            # Unused connections are only closed when their pool is used again. So only one is kept.
            self._pools.remove(pool)
            await pool.transport.aclose()


class _Body(httpx2.AsyncByteStream):
    """A response's body, which gives its place in the pool back when it is closed."""

    def __init__(self, body: httpx2.AsyncByteStream, owner: SplitPool, pool: _Pool) -> None:
        self._body = body
        self._owner = owner
        self._pool: _Pool | None = pool

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._body:
            yield data

    async def aclose(self) -> None:
        pool, self._pool = self._pool, None
        try:
            await self._body.aclose()
        finally:
            if pool is not None:
                await self._owner.give_back(pool)
