"""Tells an SGLang server that requests are no longer wanted, without waiting for its answers.

A reader that leaves must not wait: many runs may reach their deadline at the same moment, and the server
may be stuck. So the messages are sent by a few threads of the engine's own. A task group would not do,
because an engine may be entered by one task and left by another one.
"""

from __future__ import annotations

import logging
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cached_property, partial
from urllib.request import getproxies

import anyio
import anyio.to_thread
import httpx2

from sprint_agent.engines.http_client import error_text

_LOGGER = logging.getLogger("sprint_agent.engines")

_THREADS = 2
"""Few, because they compete with the readers that leave for the interpreter."""

_USEFUL_SECONDS = 5.0
"""A message that could not be sent for so long is dropped: the server knows by then."""

_SECONDS = 1.0
"""How long a message may take. The server also notices that the connection of a request was closed."""

_DRAIN_SECONDS = 0.1
"""How long leaving the engine waits for messages that are under way. The rest is sent after that."""


class AbortSender:
    """Sends aborts to one server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sprint-abort")
        self._pending: set[Future[None]] = set()
        self._closed_at = math.inf

    def send(self, request_id: str) -> None:
        """Lets the server know that a request is no longer wanted. Returns at once and never fails."""
        try:
            until = time.monotonic() + _USEFUL_SECONDS
            future = self._threads.submit(self._post, request_id, until)
        except RuntimeError:
            # The engine was left, or the interpreter is ending: the connections are closed anyway.
            return
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)

    async def close(self) -> None:
        """Waits briefly for what is under way. What is left is sent within the next second."""
        self._closed_at = time.monotonic()
        with anyio.CancelScope(shield=True):
            if pending := set(self._pending):
                await anyio.to_thread.run_sync(partial(wait, pending, _DRAIN_SECONDS))
        self._threads.submit(self._close_client)
        self._threads.shutdown(wait=False)

    @cached_property
    def _client(self) -> httpx2.Client:
        # Reading the certificates takes longer than an abort, and plain HTTP needs none.
        verify = not self._url.startswith("http://") or bool(getproxies())
        return httpx2.Client(base_url=self._url, timeout=_SECONDS, verify=verify)

    def _close_client(self) -> None:
        if "_client" in self.__dict__:
            self._client.close()

    def _post(self, request_id: str, until: float) -> None:
        if time.monotonic() > min(until, self._closed_at + _SECONDS):
            return
        try:
            self._client.post("/abort_request", json={"rid": request_id})
        except Exception as error:
            _LOGGER.debug("an abort was not delivered: %s", error_text(error))
