"""Reads the body of a response: the events of a stream, or what a server sent in place of one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import cast

import anyio
import httpx2

from sprint_agent.engines.http_client import error_text, read_error, read_object
from sprint_agent.engines.server_errors import ErrorReply, error_in, read_status, shortened
from sprint_agent.engines.sse import SseDecoder, SseEvent
from sprint_agent.errors import EngineError, EngineStalled, EngineUnavailable, TruncatedStream

Event = dict[str, object]

_TAIL_SECONDS = 1.0
"""How long to wait after the finish of an answer for the usage and the end of the stream."""

_UNSURE_SECONDS = 3.0
"""The same if the finish came together with text: some servers write a finish into every event."""

_MOST_BODY_BYTES = 16 * 2**20
"""The largest body that is read if it is not a stream."""


class EventBody:
    """Reads the events of one response as they arrive.

    A body that is not a stream is read too: an answer in one piece is its only event.
    """

    def __init__(self, response: httpx2.Response, url: str, idle: float) -> None:
        """Begins a body. The first token may take `idle` seconds, and so may each further one."""
        self._response = response
        self._url = url
        self._idle = idle
        self._chunks: AsyncGenerator[bytes, None] = response.aiter_bytes()
        self._sse = SseDecoder()
        self._until = anyio.current_time() + idle
        self._begun = False
        self._whole: bytearray | None = None
        self._ready: list[Event] = []
        self._failure: Exception | None = None
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the answer ended in order: `[DONE]` came, or the body ended."""
        return self._ended

    def on_token(self) -> None:
        """Tells that an event contained a token. Only tokens are progress, and not heartbeats."""
        self._until = anyio.current_time() + self._idle

    def on_finish(self, *, sure: bool) -> None:
        """Tells that the answer is finished: from now on, the end of the stream is awaited briefly.

        `sure` says whether no text can follow, by what the event contained.
        """
        seconds = _TAIL_SECONDS if sure else _UNSURE_SECONDS
        self._until = anyio.current_time() + min(seconds, self._idle)

    async def peek(self, begins: Callable[[Event], bool]) -> None:
        """Waits for the first event of which `begins` is true. `read` returns it, and those before it.

        Raises the same errors as `read`, if there is no such event before.
        """
        while not any(map(begins, self._ready)) and not self._ended and self._failure is None:
            await self._fill()
        if self._failure is not None and not any(map(begins, self._ready)):
            failure, self._failure = self._failure, None
            raise failure

    async def read(self) -> list[Event] | None:
        """Returns the events that the next bytes complete, which may be none. None after the end.

        Raises:
            ErrorReply: The server sent an error.
            TruncatedStream: The body broke off.
            EngineStalled: No token came for too long. After `on_finish`, the end of the answer did not.
            EngineError: The body is not a stream of events.
        """
        if not self._ready and self._failure is None:
            if self._ended:
                return None
            await self._fill()
        events, self._ready = self._ready, []
        if not events and self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        return events

    def truncated(self) -> TruncatedStream:
        """Returns the error of a stream that ended without a finish reason."""
        also = shortened(self._sse.unknown)
        return TruncatedStream(
            f"the server at {self._url} ended the stream without a finish reason"
            + (f" (it also sent: {also})" if also else ""),
            transient=True,
        )

    async def drain(self) -> None:
        """Reads to the end of the body, so that the connection can be reused."""
        async for _ in self._chunks:
            pass

    async def close(self) -> None:
        """Releases the connection. If the body has not ended, the server sees it close."""
        await self._chunks.aclose()
        await self._response.aclose()

    async def _fill(self) -> None:
        """Reads the next bytes. Events before an error are kept, and read first."""
        try:
            chunk = await self._next_chunk()
            if chunk is None:
                self._ended = True
                if self._whole is not None:
                    self._ready.append(self._read_whole(bytes(self._whole)))
                self._raise_stray_error()
            elif self._is_whole(chunk):
                self._keep(chunk)
            else:
                for event in self._sse.feed(chunk):
                    self._on_event(event)
        except (EngineError, ErrorReply) as error:
            self._failure = error

    async def _next_chunk(self) -> bytes | None:
        """Returns the next bytes. None at the end of the body."""
        try:
            with anyio.CancelScope(deadline=self._until):
                return await anext(self._chunks)
        except StopAsyncIteration:
            return None
        except httpx2.TimeoutException as error:
            raise self._stalled() from error
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            self._raise_stray_error()
            raise TruncatedStream(
                f"the stream of the server at {self._url} broke off: {error_text(error)}",
                transient=True,
            ) from error
        raise self._stalled()

    def _stalled(self) -> EngineStalled:
        return EngineStalled(
            f"the server at {self._url} was silent for {self._idle:g} s: no token came, though it may "
            "have sent heartbeats. Give it more time with idle_seconds="
        )

    def _is_whole(self, chunk: bytes) -> bool:
        """Whether the body is in one piece. Its first character shows it, whatever the headers say."""
        if not self._begun:
            first = chunk.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
            self._begun = bool(first)
            if first in (b"{", b"[", b"<"):
                self._whole = bytearray()
        return self._whole is not None

    def _keep(self, chunk: bytes) -> None:
        assert self._whole is not None
        self._whole += chunk
        if len(self._whole) > _MOST_BODY_BYTES:
            raise EngineError(
                f"the server at {self._url} sent a body that is not a stream and too large to read"
            )

    def _read_whole(self, data: bytes) -> Event:
        """Reads a body in one piece: an answer that was not streamed, or what is not an answer."""
        text = data.decode("utf-8", "replace")
        body = read_error(text)
        if isinstance(body, list) and len(cast("list[object]", body)) == 1:
            body = cast("list[object]", body)[0]
        if isinstance(body, dict):
            event = cast("Event", body)
            if "choices" in event or "meta_info" in event:
                return event
            raise error_in(event) or ErrorReply(read_status(event), event)
        kind = "a web page" if text.lstrip()[:1] == "<" else "text"
        raise EngineUnavailable(
            f"the server at {self._url} answered with {kind} in place of an answer: check the address "
            f"({shortened(text)})"
        )

    def _raise_stray_error(self) -> None:
        """Raises ErrorReply if a line of JSON that is not an event contains an error."""
        try:
            error = error_in(read_object(self._sse.unknown))
        except ValueError:
            return
        if error is not None:
            raise error

    def _on_event(self, event: SseEvent) -> None:
        if self._ended or not event.strip():
            return
        if event.startswith("[DONE]"):
            self._ended = True
            return
        try:
            content = read_object(event)
        except ValueError as error:
            if event.name == "error":
                raise ErrorReply(read_status(str(event)), str(event)) from error
            if event.name not in ("", "message"):
                # An event of another kind, such as a heartbeat.
                return
            raise EngineError(
                f"the server at {self._url} sent an unreadable event ({error})"
            ) from error
        if event.name == "error":
            raise ErrorReply(read_status(content), content)
        if error := error_in(content):
            raise error
        self._ready.append(content)
