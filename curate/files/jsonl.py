"""Records on disk: one JSON object a line, written whole or not at all."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from curate.closing import HoldsFile

if sys.platform != "win32":
    import fcntl

_Record = TypeVar("_Record")


class InUse(OSError):
    """Another process writes there. The message is one line saying where, and what to do."""


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


@contextmanager
def alone(out: Path, lock: Path) -> Generator[None]:
    """Makes sure that no other process writes `out` meanwhile, by a file that is locked.

    The file stays behind, and its lock goes with the process, however that ends. Raises InUse.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("ab") as file:
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as cause:
                raise InUse(
                    f"another process writes to {out}: wait for it, or choose another --out"
                ) from cause
            except OSError:
                pass  # The file system knows no locks, as some that machines share.
        yield


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
