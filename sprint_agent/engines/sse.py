"""Decodes server-sent events from a stream of bytes. Pure: no I/O, no await."""

from __future__ import annotations

import codecs
import re

_LINE_END = re.compile("\r\n|\n|\r")


class SseDecoder:
    """Turns the chunks of a stream into the data of its events. The cuts between chunks do not matter.

    Only data is kept. Comments, event names, ids, retry times and events without data are dropped.
    An event is complete at its blank line, so a stream that breaks off loses an incomplete event.
    """

    def __init__(self) -> None:
        # Invalid UTF-8 must not end the stream. If it matters, parsing the JSON fails later.
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._line: list[str] = []
        self._data: list[str] = []
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
            event = "\n".join(self._data) if self._data else None
            self._data.clear()
            return event
        name, _, value = line.partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))
        return None
