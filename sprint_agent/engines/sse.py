"""Server-sent events, decoded as their bytes come. Pure: no I/O, no await."""

from __future__ import annotations

import codecs
import re

_LINE_END = re.compile("\r\n|\n|\r")


class SseDecoder:
    """Turns a stream's chunks into the data of its events, however the chunks were cut.

    Only data is kept: comments, names, ids and retry times are dropped, and so are events without
    data. An event that no blank line has ended is not one: a stream that breaks off loses it.
    """

    def __init__(self) -> None:
        # A server that ends a character badly must not stop the stream; its JSON tells later.
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._line: list[str] = []
        self._data: list[str] = []
        self._after_return = False
        self._started = False

    def feed(self, chunk: bytes | str) -> list[str]:
        """Takes the next bytes (or text); returns the data of the events that they complete."""
        text = chunk if isinstance(chunk, str) else self._characters.decode(chunk)
        if not text:
            return []
        if not self._started:
            self._started = True
            text = text.removeprefix("\N{BYTE ORDER MARK}")
        if self._after_return:
            # The second half of a "\r\n" whose first half ended a line in the chunk before.
            text = text.removeprefix("\n")
        self._after_return = text.endswith("\r")
        *ends, rest = _LINE_END.split(text)
        events: list[str] = []
        for end in ends:
            event = self._take("".join([*self._line, end]))
            self._line.clear()
            if event is not None:
                events.append(event)
        self._line.append(rest)
        return events

    def _take(self, line: str) -> str | None:
        """Takes one line; returns the data of the event that it ends."""
        if not line:
            event = "\n".join(self._data) if self._data else None
            self._data.clear()
            return event
        name, _, value = line.partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))
        return None
