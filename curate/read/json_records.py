"""Splits a text file into JSON records: one a line, or the values of an array or of a sequence.

Memory contains one record at a time. If a record is broken, the others are read all the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from curate.drops import Dropped, Reason
from curate.read.open_file import CORRUPT

LONGEST_RECORD = 256 * 1024 * 1024
"""Bytes."""
_CHUNK = 1 << 17
_IGNORED = b" \t\r\n,\x1e"
"""What may be around a value. (A record separator begins each one in a JSON text sequence.)"""
_STRUCTURE = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'["\\]')

Record = Any | Dropped | None
"""A parsed value, or why it cannot be read, or None for a blank line."""


def records(file: BinaryIO, head: bytes) -> Iterator[Record]:
    """Yields the records of a file in order. `head` is how the file begins."""
    parts = _values(file) if _is_spread(head) else _lines(file)
    for part in parts:
        yield part if isinstance(part, Dropped) else _parse(part)


def looks_like_json(head: bytes) -> bool:
    """Returns whether any line begins like a JSON object or array."""
    return any(line.lstrip(_IGNORED)[:1] in (b"{", b"[") for line in head.splitlines())


def _is_spread(head: bytes) -> bool:
    """Returns whether records are not lines: the file is an array, or its objects are indented."""
    start = head.lstrip(_IGNORED)
    first, found, rest = start.partition(b"\n")
    second = rest.lstrip(_IGNORED)
    if start.startswith(b"["):
        # Lists on separate lines are records, such as conversations.
        return not (found and second.startswith(b"[") and _is_json(first))
    if not start.startswith(b"{") or not second or second.startswith(b"{"):
        return False
    return not any(line.startswith(b"{") and _is_json(line) for line in head.splitlines())


def _is_json(line: bytes) -> bool:
    return not isinstance(_parse(line), Dropped)


def _parse(part: bytes) -> Record:
    part = part.strip(_IGNORED)
    if not part:
        return None
    try:
        return json.loads(part.decode())
    except UnicodeDecodeError as error:
        detail = f"not UTF-8 (byte {part[error.start]:#04x} at {error.start}): convert the file"
        return Dropped(Reason.UNREADABLE, detail)
    except (ValueError, RecursionError) as error:
        hint = ", but a Python dict: write it by json.dumps" if part.startswith(b"{'") else ""
        return Dropped(Reason.UNREADABLE, f"not JSON{hint}: {str(error)[:200]}")


def _too_long() -> Dropped:
    return Dropped(Reason.UNREADABLE, f"a record longer than {LONGEST_RECORD} bytes")


def cut_off(error: BaseException) -> Dropped:
    """Returns the reason for a file that cannot be read to its end."""
    why = (str(error) or type(error).__name__).splitlines()[0]
    return Dropped(Reason.UNREADABLE, f"the file is truncated or corrupt: {why}")


def _lines(file: BinaryIO) -> Iterator[bytes | Dropped]:
    while True:
        try:
            line = file.readline(LONGEST_RECORD + 1)
            too_long = len(line) > LONGEST_RECORD
            while too_long and not line.endswith(b"\n") and line:
                line = file.readline(LONGEST_RECORD)
        except CORRUPT as error:
            yield cut_off(error)
            return
        if too_long:
            yield _too_long()
        elif not line:
            return
        else:
            yield line


def _values(file: BinaryIO) -> Iterator[bytes | Dropped]:
    """Yields the values of the arrays in the file, or the values themselves if it has no array."""
    splitter = _Splitter()
    try:
        while chunk := file.read(_CHUNK):
            yield from splitter.feed(chunk)
            if splitter.length > LONGEST_RECORD:
                # What follows cannot be told apart from the inside of the record.
                yield _too_long()
                return
    except CORRUPT as error:
        yield cut_off(error)
        return
    if splitter.is_open:
        yield Dropped(
            Reason.UNREADABLE, "the file ends inside a record: it is truncated or corrupt"
        )


class _Splitter:
    """Finds where values begin and end, in text that arrives in chunks."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._at = 0
        self._depth = 0
        self._level: int | None = None
        """The depth of a value: 1 in an array, else 0. None before an array or a value."""
        self._in_string = False

    @property
    def length(self) -> int:
        """The length of the text that belongs to no complete value yet."""
        return len(self._text)

    @property
    def is_open(self) -> bool:
        """Whether a value or an array has not ended."""
        return self._depth > 0 or bool(self._text.strip(_IGNORED))

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yields the values that the chunk completes, and whatever else is between them."""
        self._text += chunk
        start = 0
        while (mark := self._next()) is not None:
            level = (mark == b"[") if self._level is None else self._level
            self._level = int(level)
            opens = mark in (b"{", b"[")
            if self._depth > level + (not opens):
                self._depth += 1 if opens else -1
                continue
            # A value begins or ends here, or an array does. Text before its beginning is separate.
            end = self._at - (opens or self._depth <= level)
            if self._text[start:end].strip(_IGNORED):
                yield bytes(self._text[start:end])
            start = end if opens and self._depth == level else self._at
            self._depth = self._depth + 1 if opens else max(0, self._depth - 1)
            if self._depth == 0:
                self._level = None
        del self._text[:start]
        self._at -= start

    def _next(self) -> bytes | None:
        """Moves after the next bracket, and returns it. Returns None if more text is needed."""
        while True:
            search = _IN_STRING if self._in_string else _STRUCTURE
            found = search.search(self._text, self._at)
            if found is None:
                self._at = len(self._text)
                return None
            if found[0] == b"\\":
                if found.end() == len(self._text):
                    self._at = found.start()
                    return None
                self._at = found.end() + 1
                continue
            self._at = found.end()
            if found[0] != b'"':
                return found[0]
            self._in_string = not self._in_string
