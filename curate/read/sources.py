"""Reads trajectories from files and datasets, in order. Memory contains one record at a time.

A record that cannot be used is reported in its place, with the reason. Only a source that cannot be
read at all is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curate.drops import Dropped, Reason, SkippedRecord
from curate.read import json_records, tables
from curate.read.fields import is_list
from curate.read.json_records import Record
from curate.read.layouts import Layout, detect, extract
from curate.read.open_file import OpenFile, SourceError, missing, open_file
from curate.trajectory import Trajectory

_TABLES = (".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset by its name. The `datasets` library streams it."""

    name: str
    split: str = "train"


def read(
    source: Path | Dataset, layout: Layout | None = None
) -> Iterator[Trajectory | SkippedRecord]:
    """Yields the trajectories of a source in order, each with where it was read.

    A file is JSON (lines, an array, or values one after another), Parquet, Arrow, or CSV. Text may be
    compressed, and in any Unicode encoding. Without a layout, the fields of each record tell which of
    the known layouts it has.

    Raises:
        SourceError: the source cannot be read at all.
    """
    name = _printable(source.name.rpartition("/")[2])
    for number, (record, known) in enumerate(_records(source, layout), 1):
        where = f"{name}:{number}"
        if record is None:
            continue
        if isinstance(record, Dropped):
            yield SkippedRecord(where, record.reason, record.detail)
            continue
        for k, found in enumerate(_trajectories(record, known), 1):
            place = where if k == 1 else f"{where}#{k}"
            if isinstance(found, Dropped):
                yield SkippedRecord(place, found.reason, found.detail)
            else:
                yield replace(found, source=place)


def _trajectories(record: Any, layout: Layout | None) -> Iterator[Trajectory | Dropped]:
    if is_list(record):
        if not any(isinstance(one, Mapping) and detect(one.keys()) for one in record):
            # A conversation without anything around it.
            yield from _trajectories({"messages": record}, layout)
            return
        for one in record:
            yield from _trajectories(one if isinstance(one, Mapping) else None, layout)
        return
    if not isinstance(record, Mapping):
        yield Dropped(Reason.UNREADABLE, "not a JSON object")
        return
    found = layout or detect(record.keys())
    if found is None:
        inner = _records_inside(record)
        if inner is None:
            shown = _printable(", ".join(sorted(map(str, record)))[:200])
            yield Dropped(Reason.UNREADABLE, f"no known layout has the fields {shown}")
        for one in inner or ():
            yield from _trajectories(one, None)
        return
    yield from extract(record, found)


def _records_inside(record: Mapping[Any, Any]) -> Sequence[Any] | None:
    """Returns the records in the only list of objects, as in `{"version": 1, "data": [{…}, …]}`."""
    lists = [value for value in record.values() if is_list(value) and value]
    if len(lists) == 1 and all(isinstance(v, Mapping) and detect(v.keys()) for v in lists[0]):
        return lists[0]
    return None


def _records(
    source: Path | Dataset, layout: Layout | None
) -> Iterator[tuple[Record, Layout | None]]:
    if isinstance(source, Dataset):
        yield from _streamed(source, layout)
        return
    with open_file(source) as file:
        match file.kind:
            case "parquet":
                yield from tables.parquet(source, layout)
            case "arrow":
                yield from tables.arrow(source, layout)
            case "text":
                for record in _text_records(source, file):
                    yield record, layout


def _text_records(path: Path, file: OpenFile) -> Iterator[Record]:
    if file.suffixes and file.suffixes[-1] in _TABLES:
        return tables.comma_separated(file.content, file.head)
    if file.head.strip() and not json_records.looks_like_json(file.head):
        begins = file.head.lstrip()[:40].decode("utf-8", "replace")
        raise SourceError(
            f"{path} is not JSON, it begins with {begins!r}: write one JSON object a line (a file of "
            "comma-separated values must be named .csv)"
        )
    return json_records.records(file.content, file.head)


def _streamed(source: Dataset, layout: Layout | None) -> Iterator[tuple[Record, Layout | None]]:
    try:
        import datasets
    except ImportError as error:
        raise missing("datasets by name", error, "datasets") from error
    try:
        rows = datasets.load_dataset(source.name, split=source.split, streaming=True)
        for row in rows:
            yield row, layout
    except Exception as error:
        # The library passes on the errors of many other libraries. A broken stream is incomplete.
        raise SourceError(f"cannot read the dataset {source.name}: {error}") from error


def _printable(text: str) -> str:
    """Replaces what cannot be encoded as UTF-8, which names of files and fields may contain."""
    return text.encode("utf-8", "replace").decode()
