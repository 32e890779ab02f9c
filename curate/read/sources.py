"""Reads trajectories from files and datasets, in order. Memory contains one record at a time.

A record that cannot be used is reported in its place, with the reason. Only a source that cannot be
read at all is an error.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from curate.drops import Dropped, Reason, SkippedRecord
from curate.read.layouts import Layout, detect, extract
from curate.trajectory import Trajectory

_LONGEST_LINE = 256 * 1024 * 1024
_GZIP = b"\x1f\x8b"
"""The first bytes of a gzip file."""
_ROWS = 64
"""How many rows of a Parquet file are in memory at a time."""


class SourceError(Exception):
    """A source cannot be read at all. The message is one line that says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset by its name. The `datasets` library streams it."""

    name: str
    split: str = "train"


_Record = tuple[Any, Layout | None] | Dropped | None
"""A record with its layout (None if unknown), or why it cannot be read, or None for a blank line."""


def read(
    source: Path | Dataset, layout: Layout | None = None
) -> Iterator[Trajectory | SkippedRecord]:
    """Yields the trajectories of a source in order, each with where it was read.

    A file is Parquet (`.parquet`) or JSON lines (also as `.gz`). Without a layout, the fields of each
    record tell which of the known layouts it has.

    Raises:
        SourceError: the source cannot be read at all.
    """
    name = _printable(source.name.rpartition("/")[2])
    for number, record in enumerate(_records(source, layout), 1):
        where = f"{name}:{number}"
        if record is None:
            continue
        if isinstance(record, Dropped):
            yield SkippedRecord(where, record.reason, record.detail)
            continue
        for k, found in enumerate(_trajectories(*record), 1):
            place = where if k == 1 else f"{where}#{k}"
            if isinstance(found, Dropped):
                yield SkippedRecord(place, found.reason, found.detail)
            else:
                yield replace(found, source=place)


def _trajectories(record: Any, layout: Layout | None) -> Iterator[Trajectory | Dropped]:
    if not isinstance(record, Mapping):
        yield Dropped(Reason.UNREADABLE, "not a JSON object")
        return
    layout = layout or detect(record.keys())
    if layout is None:
        shown = _printable(", ".join(sorted(map(str, record)))[:200])
        yield Dropped(Reason.UNREADABLE, f"no known layout has the fields {shown}")
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
                yield Dropped(Reason.UNREADABLE, f"the file is truncated or corrupt: {error}")
                return
            if too_long:
                yield Dropped(Reason.UNREADABLE, f"a line longer than {_LONGEST_LINE} bytes")
            elif not line:
                return
            else:
                yield _parse(line.removeprefix(b"\xef\xbb\xbf") if first else line, layout)
            first = False


def _opened(path: Path) -> BinaryIO:
    try:
        if path.suffix != ".gz":
            return path.open("rb")
        with path.open("rb") as file:
            begins = file.read(len(_GZIP))
        if begins not in (_GZIP, b""):
            raise SourceError(f"{path} is not compressed by gzip: rename it without .gz")
        return cast(BinaryIO, gzip.open(path))
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
            why = str(error).splitlines()[0]
            yield Dropped(Reason.UNREADABLE, f"the file is truncated or corrupt: {why}")


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
        # The library passes on the errors of many other libraries. A broken stream is incomplete.
        raise SourceError(f"cannot read the dataset {source.name}: {error}") from error


def _missing(what: str, error: ImportError, extra: str) -> SourceError:
    return SourceError(f"{what} need {error.name}: from a checkout, pip install -e '.[{extra}]'")


def _printable(text: str) -> str:
    """Replaces what cannot be encoded as UTF-8, which names of files and fields may contain."""
    return text.encode("utf-8", "replace").decode()
