"""A port on loopback that serves connections, crashes and restarts."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import SocketAttribute, SocketListener, SocketStream, TaskGroup

from sprint_agent.testing.fault_server.http1 import Connection

_HOST = "127.0.0.1"


class Loopback:
    """Listens while it is entered, and calls `serve_one` for each request of each connection.

    `serve_one` returns whether the connection can serve another request. What it raises leaves the
    `async with` block in an ExceptionGroup, unless it only means that the connection was closed.
    """

    def __init__(self, serve_one: Callable[[Connection], Awaitable[bool]]) -> None:
        self.connections: int = 0
        self._serve_one = serve_one
        self._port = 0
        self._listener: SocketListener | None = None
        self._open: dict[Connection, anyio.CancelScope] = {}
        self._group: TaskGroup | None = None
        self._stack = AsyncExitStack()

    @property
    def url(self) -> str:
        """The address, which crashes do not change. The port is 0 before it first listens."""
        return f"http://{_HOST}:{self._port}"

    async def __aenter__(self) -> Self:
        self._group = await self._stack.enter_async_context(anyio.create_task_group())
        await self.restart()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._group is not None
        self._group.cancel_scope.cancel()
        self._group = self._listener = None
        try:
            return await self._stack.__aexit__(exc_type, exc, traceback)
        except BaseExceptionGroup as group:
            if exc is not None and group.exceptions == (exc,):
                # The error of the block itself: it propagates unchanged, without a group.
                return False
            raise

    async def crash(self) -> None:
        """Resets every connection, and refuses new ones until `restart`."""
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.aclose()
        for connection, scope in self._open.items():
            connection.reset_on_close()
            scope.cancel()

    async def restart(self) -> None:
        """Listens again at the same address. Does nothing if it is listening."""
        if self._group is None or self._listener is not None:
            return
        listeners = await anyio.create_tcp_listener(local_host=_HOST, local_port=self._port)
        (listener,) = listeners.listeners
        assert isinstance(listener, SocketListener)
        self._listener = listener
        self._port = listener.extra(SocketAttribute.local_port)
        self._group.start_soon(self._accept, listener, self._group)

    async def _accept(self, listener: SocketListener, group: TaskGroup) -> None:
        async with listener:
            with contextlib.suppress(anyio.ClosedResourceError):
                await listener.serve(self._serve, group)

    async def _serve(self, stream: SocketStream) -> None:
        """Serves a connection until its end."""
        self.connections += 1
        connection = Connection(stream, self.connections)
        with anyio.CancelScope() as scope:
            self._open[connection] = scope
            if self._listener is None:
                # The connection was accepted at the moment of a crash.
                connection.reset_on_close()
                scope.cancel()
            try:
                async with stream:
                    while await self._serve_one(connection):
                        pass
                    await connection.finish()
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass
            finally:
                del self._open[connection]
