"""Readers: trajectories from files and datasets, one after another, in memory for a record at a time.

What cannot be used is reported in its place, with the reason; only a source that cannot be read at all
is an error.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from curate.drops import Dropped, Reason
from curate.read.layouts import Layout, detect, extract
from curate.trajectory import Trajectory

_LONGEST_LINE = 256 * 1024 * 1024
_GZIP = b"\x1f\x8b"
"""What a gzip file begins with."""
_ROWS = 64
"""Rows of a Parquet file that are in memory at a time."""


class SourceError(Exception):
    """A source cannot be read at all. The message is one line saying why, and what to do."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset by its name, for the `datasets` library to stream."""

    name: str
    split: str = "train"


@dataclass(frozen=True, slots=True)
class Unread:
    """A record, or one of its trajectories, that cannot be used."""

    source: str
    reason: Reason
    detail: str


_Record = tuple[Any, Layout | None] | Dropped | None
"""A record, and its layout where that is known; why it cannot be read; None for a blank line."""


def read(source: Path | Dataset, layout: Layout | None = None) -> Iterator[Trajectory | Unread]:
    """The trajectories of a source, in order, each with where it was read.

    A file is Parquet (`.parquet`) or JSON lines (`.gz` too). Without a layout, each record is read in
    that known one which its fields tell. Raises SourceError.
    """
    name = _printable(source.name.rpartition("/")[2])
    for number, record in enumerate(_records(source, layout), 1):
        where = f"{name}:{number}"
        if record is None:
            continue
        if isinstance(record, Dropped):
            yield Unread(where, record.reason, record.detail)
            continue
        for k, found in enumerate(_trajectories(*record), 1):
            place = where if k == 1 else f"{where}#{k}"
            if isinstance(found, Dropped):
                yield Unread(place, found.reason, found.detail)
            else:
                yield replace(found, source=place)


def _trajectories(record: Any, layout: Layout | None) -> Iterator[Trajectory | Dropped]:
    if not isinstance(record, Mapping):
        yield Dropped(Reason.UNREADABLE, "not a JSON object")
        return
    layout = layout or detect(record.keys())
    if layout is None:
        shown = _printable(", ".join(sorted(map(str, record)))[:200])
        yield Dropped(Reason.UNREADABLE, f"the fields {shown} are of no known layout")
        return
    yield from extract(record, layout)


def _records(source: Path | Dataset, layout: Layout | None) -> Iterator[_Record]:
    if isinstance(source, Dataset):
        return _streamed(source, layout)
    if not source.is_file():
        raise SourceError(f"there is no file {source}")
    return _rows(source, layout) if source.suffix == ".parquet" else _lines(source, layout)


def _lines(path: Path, layout: Layout | None) -> Iterator[_Record]:
    with _opened(path) as file:
        first = True
        while True:
            try:
                line = file.readline(_LONGEST_LINE + 1)
                too_long = len(line) > _LONGEST_LINE
                while too_long and not line.endswith(b"\n") and line:
                    line = file.readline(_LONGEST_LINE)
            except (OSError, EOFError, zlib.error) as error:
                yield Dropped(Reason.UNREADABLE, f"the file breaks off: {error}")
                return
            if too_long:
                yield Dropped(Reason.UNREADABLE, f"a line longer than {_LONGEST_LINE} bytes")
            elif not line:
                return
            else:
                yield _parse(line.removeprefix(b"\xef\xbb\xbf") if first else line, layout)
            first = False


def _opened(path: Path) -> IO[bytes]:
    try:
        if path.suffix != ".gz":
            return path.open("rb")
        with path.open("rb") as file:
            begins = file.read(len(_GZIP))
        if begins not in (_GZIP, b""):
            raise SourceError(f"{path} is not compressed by gzip, as its name says: rename it")
        return gzip.open(path)
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error


def _parse(line: bytes, layout: Layout | None) -> _Record:
    if not line.strip():
        return None
    try:
        return json.loads(line.decode()), layout
    except (ValueError, RecursionError) as error:
        return Dropped(Reason.UNREADABLE, f"not JSON: {str(error)[:200]}")


def _rows(path: Path, layout: Layout | None) -> Iterator[_Record]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise _missing("Parquet files", error, "curate") from error
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise SourceError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
    with file:
        names = file.schema_arrow.names
        layout = layout or detect(names)
        columns = [name for name in names if layout is None or name in layout.fields]
        try:
            for batch in file.iter_batches(_ROWS, columns=columns):
                for k in range(batch.num_rows):
                    yield _row(batch.slice(k, 1), layout)
        except (OSError, pyarrow.ArrowException) as error:
            yield Dropped(Reason.UNREADABLE, f"the file breaks off: {str(error).splitlines()[0]}")


def _row(row: Any, layout: Layout | None) -> _Record:
    try:
        return row.to_pylist()[0], layout
    except UnicodeDecodeError as error:
        return Dropped(Reason.UNREADABLE, f"not UTF-8: {error.reason}")


def _streamed(source: Dataset, layout: Layout | None) -> Iterator[_Record]:
    try:
        import datasets
    except ImportError as error:
        raise _missing("datasets by name", error, "datasets") from error
    try:
        rows = datasets.load_dataset(source.name, split=source.split, streaming=True)
        for row in rows:
            yield row, layout
    except Exception as error:
        # The library raises whatever its own libraries do, and a stream that broke is not a whole one.
        raise SourceError(f"cannot read the dataset {source.name}: {error}") from error


def _missing(what: str, error: ImportError, extra: str) -> SourceError:
    return SourceError(f"{what} need {error.name}: from a checkout, pip install -e '.[{extra}]'")


def _printable(text: str) -> str:
    """Names of files and fields may hold what has no UTF-8."""
    return text.encode("utf-8", "replace").decode()
