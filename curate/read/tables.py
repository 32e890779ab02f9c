"""Reads tables: Parquet, Arrow (also as Feather), and CSV. Memory contains a few rows at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from curate.drops import Dropped, Reason
from curate.read.json_records import LONGEST_RECORD, Record, cut_off
from curate.read.layouts import Layout, detect
from curate.read.open_file import CORRUPT, SourceError, missing

_ROWS = 64
"""The most rows of a Parquet file that are in memory at a time."""
_MOST_BYTES = 256 * 1024 * 1024
"""Rows in memory at the same time have at most so many bytes. A longer row is alone in memory."""
_PLAUSIBLE_BYTES = 4 * 1024 * 1024
_PLAUSIBLE_RATIO = 500
"""Text is compressed to a tenth. A longer column that shrinks to a 500th was made to fill memory."""
_DELIMITERS = ",\t;|"


def parquet(path: Path, layout: Layout | None) -> Iterator[tuple[Record, Layout | None]]:
    """Yields the rows of a Parquet file, with their layout. Only the columns of the layout are read.

    Raises:
        SourceError: the file cannot be read at all.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise missing("Parquet files", error, "curate") from error
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise SourceError(f"cannot read {path}: {_line(error)}") from error
    with file:
        names = file.schema_arrow.names
        layout = layout or detect(names)
        columns = [name for name in names if layout is None or name in layout.fields]
        rows = _rows_in_memory(path, file.metadata, columns)
        try:
            for batch in file.iter_batches(rows, columns=columns):
                for record in _rows(batch):
                    yield record, layout
        except (OSError, pyarrow.ArrowException) as error:
            yield cut_off(error), layout


def arrow(path: Path, layout: Layout | None) -> Iterator[tuple[Record, Layout | None]]:
    """Yields the rows of an Arrow file or stream, with their layout.

    Raises:
        SourceError: the file cannot be read at all.
    """
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise missing("Arrow files", error, "curate") from error
    with pyarrow.OSFile(str(path)) as file:
        try:
            if file.read(6) == b"ARROW1":
                table = pyarrow.ipc.open_file(file)
                batches = (table.get_batch(k) for k in range(table.num_record_batches))
            else:
                file.seek(0)
                table = batches = pyarrow.ipc.open_stream(file)
        except (OSError, pyarrow.ArrowException) as error:
            raise SourceError(f"cannot read {path}: {_line(error)}") from error
        layout = layout or detect(table.schema.names)
        try:
            for batch in batches:
                for record in _rows(batch):
                    yield record, layout
        except (OSError, pyarrow.ArrowException) as error:
            yield cut_off(error), layout


def comma_separated(file: BinaryIO, head: bytes) -> Iterator[Record]:
    """Yields the rows of a CSV file by the names in its first line, whatever separates its columns."""
    names = head.partition(b"\n")[0].decode("utf-8", "replace")
    delimiter = max(_DELIMITERS, key=names.count)
    # The limit is that of the process, and its default is shorter than a trajectory.
    csv.field_size_limit(LONGEST_RECORD)
    text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="")
    rows = csv.DictReader(text, delimiter=delimiter)
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield Dropped(Reason.UNREADABLE, f"not CSV: {error}")
            continue
        except CORRUPT as error:
            yield cut_off(error)
            return
        if row is None:
            return
        yield row


def _rows_in_memory(path: Path, metadata: Any, columns: list[str]) -> int:
    """Returns how many rows to read at a time.

    A dictionary repeats a value in many rows, so a row may be as long as its whole column is on disk.

    Raises:
        SourceError: a column was made to fill memory.
    """
    largest = 1
    for group in range(metadata.num_row_groups):
        for k in range(metadata.num_columns):
            column = metadata.row_group(group).column(k)
            if column.path_in_schema.partition(".")[0] not in columns:
                continue
            size, packed = column.total_uncompressed_size, column.total_compressed_size
            if size > _PLAUSIBLE_BYTES and size > _PLAUSIBLE_RATIO * max(1, packed):
                raise SourceError(
                    f"{path}: {packed:,} bytes of the column {column.path_in_schema} unpack to "
                    f"{size:,}, which no text does: write it again from a source that you trust"
                )
            largest = max(largest, size)
    return max(1, min(_ROWS, _MOST_BYTES // largest))


def _rows(batch: Any) -> Iterator[Record]:
    for k in range(batch.num_rows):
        try:
            yield batch.slice(k, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            yield Dropped(Reason.UNREADABLE, f"not UTF-8: {error.reason}")
        except (ValueError, OverflowError) as error:
            yield Dropped(Reason.UNREADABLE, f"a value that Python cannot represent: {error}")


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
