"""Decodes server-sent events from a stream of bytes. Pure: no I/O, no await."""

from __future__ import annotations

import codecs
import re

_LINE_END = re.compile("\r\n|\n|\r")
_KEEPALIVES = frozenset({"ping", "heartbeat", "keepalive", "keep-alive", "keep_alive"})
"""The names of events that only say that the server is alive, whatever data they have."""


class SseDecoder:
    """Turns the chunks of a stream into the data of its events. The cuts between chunks do not matter.

    Only data is kept. Comments, ids, retry times, keep-alive events and events without data are dropped.
    An event is complete at its blank line, so a stream that breaks off loses an incomplete event.

    Some servers report an error in a field `error:` in place of data. Its value is returned as the
    data of an event that other servers would send: `{"error": …}`.
    """

    def __init__(self) -> None:
        # Invalid UTF-8 must not end the stream. If it matters, parsing the JSON fails later.
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._line: list[str] = []
        self._data: list[str] = []
        self._name = ""
        self._after_return = False
        self._started = False

    def feed(self, chunk: bytes | str) -> list[str]:
        """Takes the next bytes (or text) and returns the data of the events that they complete."""
        text = chunk if isinstance(chunk, str) else self._characters.decode(chunk)
        if not text:
            return []
        if not self._started:
            self._started = True
            text = text.removeprefix("\N{BYTE ORDER MARK}")
        if self._after_return:
            # The second half of a "\r\n" whose first half ended a line in the previous chunk.
            text = text.removeprefix("\n")
        self._after_return = text.endswith("\r")
        *ends, rest = _LINE_END.split(text)
        events: list[str] = []
        for end in ends:
            event = self._on_line("".join([*self._line, end]))
            self._line.clear()
            if event is not None:
                events.append(event)
        self._line.append(rest)
        return events

    def _on_line(self, line: str) -> str | None:
        """Takes one line. If it ends an event, returns the event's data."""
        if not line:
            event, name = "\n".join(self._data), self._name
            self._data.clear()
            self._name = ""
            return event if event.strip() and name not in _KEEPALIVES else None
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "error":
            self._data.append(f'{{"error": {value}}}')
        elif field == "event":
            self._name = value.strip().lower()
        return None
