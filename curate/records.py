"""Records on disk: one JSON object a line, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from curate.closing import HoldsFile

_Record = TypeVar("_Record")


class Writer(HoldsFile):
    """Writes records, dataclasses all, to a file that appears when it is whole.

    Where the writer is left by an error, it does not appear.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._partial = path.with_name(path.name + ".partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._partial.open("wb")
        self._encoder = msgspec.json.Encoder()

    def write(self, record: object) -> None:
        """Writes one record."""
        self._file.write(self._encoder.encode(record) + b"\n")
        self.count += 1

    def _closed(self, *, whole: bool) -> None:
        if whole:
            self._partial.replace(self.path)
        else:
            self._partial.unlink(missing_ok=True)


def write(records: Iterable[object], path: Path) -> int:
    """Writes records to `path`; returns how many."""
    with Writer(path) as writer:
        for record in records:
            writer.write(record)
    return writer.count


def read(path: Path, kind: type[_Record]) -> Iterator[_Record]:
    """Reads records of `kind` back. Raises ValueError, with the line's number, for a corrupt one."""
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield decoder.decode(line)
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as cause:
                name = kind.__name__.lower()
                raise ValueError(f"{path}, line {number}: not a {name} ({cause})") from cause
