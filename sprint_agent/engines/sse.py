"""Decodes server-sent events from a stream of bytes. Pure: no I/O, no await."""

from __future__ import annotations

import codecs
import re
from typing import Self

_LINE_END = re.compile("\r\n|\n|\r")
_UNKNOWN_CHARACTERS = 4_000


class SseEvent(str):
    """The data of one event, and its name."""

    name: str
    """The content of the field `event`, mostly empty. A line `error: …` is an event named error."""

    def __new__(cls, data: str, name: str = "") -> Self:
        event = super().__new__(cls, data)
        event.name = name
        return event


class SseDecoder:
    """Turns the chunks of a stream into its events. The cuts between chunks do not matter.

    Comments, ids, retry times and events without data are dropped. An event is complete at its blank
    line, so a stream that breaks off loses an incomplete event.

    Two things are read that are not in the standard, because servers report errors in this way: a field
    `error`, and the first line that does not belong to an event (`unknown`).
    """

    def __init__(self) -> None:
        # Invalid UTF-8 must not end the stream. If it matters, parsing the JSON fails later.
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._line: list[str] = []
        self._data: list[str] = []
        self._name = ""
        self._after_return = False
        self._started = False
        self.unknown: str = ""
        """The first line that is not part of an event, shortened. It may say what went wrong."""

    def feed(self, chunk: bytes | str) -> list[SseEvent]:
        """Takes the next bytes (or text) and returns the events that they complete."""
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
        events: list[SseEvent] = []
        for end in ends:
            event = self._on_line("".join([*self._line, end]))
            self._line.clear()
            if event is not None:
                events.append(event)
        self._line.append(rest)
        return events

    def _on_line(self, line: str) -> SseEvent | None:
        """Takes one line. If it ends an event, returns the event."""
        if not line:
            # An event without data is dropped, by the standard. Servers send it as a heartbeat.
            data, name = "\n".join(self._data), self._name
            self._data.clear()
            self._name = ""
            return SseEvent(data, name) if data.strip() else None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._name = value
            case "error" if value:
                return SseEvent(value, "error")
            case "" | "id" | "retry":
                pass
            case _:
                self.unknown = self.unknown or line[:_UNKNOWN_CHARACTERS]
        return None
