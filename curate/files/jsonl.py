"""Records on disk: one JSON object a line, in a file that is written completely or not at all."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import msgspec

if sys.platform != "win32":
    import fcntl

_Record = TypeVar("_Record")


class InUse(OSError):
    """Another process writes there. The message is one line that says where, and what to do."""


class Writer(AbstractContextManager["Writer"]):
    """Writes records, which are dataclasses, to a file that appears when it is complete.

    If an error leaves the `with` block, the file does not appear.
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

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        if exc is None:
            self._partial.replace(self.path)
        else:
            self._partial.unlink(missing_ok=True)


@contextmanager
def exclusive(out: Path, lock: Path) -> Generator[None]:
    """Makes sure that no other process writes `out` during the block, by locking the file `lock`.

    The lock file remains on disk. The lock itself ends with the process, however the process ends.

    Raises:
        InUse: another process has the lock.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("ab") as file:
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as cause:
                raise InUse(
                    f"another process writes to {out}: wait until it ends, or choose another --out"
                ) from cause
            except OSError:
                pass  # Some file systems, such as some network shares, support no locks.
        yield


def write(records: Iterable[object], path: Path) -> int:
    """Writes records to `path`, and returns how many."""
    with Writer(path) as writer:
        for record in records:
            writer.write(record)
    return writer.count


def read(path: Path, kind: type[_Record]) -> Iterator[_Record]:
    """Reads records of `kind` back.

    Raises:
        ValueError: a line is corrupt. The message contains its number.
    """
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield decoder.decode(line)
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as cause:
                name = kind.__name__.lower()
                raise ValueError(f"{path}, line {number}: not a {name} ({cause})") from cause
