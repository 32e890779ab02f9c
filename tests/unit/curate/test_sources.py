"""Files and datasets: broken records are reported, and the rest is read."""

from __future__ import annotations

import gzip
import json
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from curate.drops import Reason, SkippedRecord
from curate.read import json_records, sources
from curate.read.layouts import PLAIN
from curate.read.sources import Dataset, SourceError, read
from curate.trajectory import Trajectory
from tests.unit.curate.test_layouts import OPENR1_RECORD, plain, written


class TestBrokenFiles:
    def test_broken_records_are_reported_and_the_rest_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "part.jsonl"
        good = json.dumps(plain()).encode()
        lines = [
            b"\xef\xbb\xbf" + good + b"\r",
            b"{",
            b"\xff\xfe",
            b"[1]",
            b"",
            b"  \r",
            b"[" * 100_000,
            b'{"a": ' + b"9" * 5000 + b"}",
            json.dumps(plain(text="half \ud800")).encode(),
            json.dumps({"half \ud800": 1}).encode(),
            json.dumps(plain(question=" ")).encode(),
            good.replace(b'"4"', b"NaN"),
            good,
        ]
        path.write_bytes(b"\n".join(lines))
        found = list(read(path))
        assert [f.source for f in found if isinstance(f, Trajectory)] == [
            "part.jsonl:1",
            "part.jsonl:13",
        ]
        lost = [f for f in found if isinstance(f, SkippedRecord)]
        assert [f.source.partition(":")[2] for f in lost] == [
            "2",
            "3",
            "4",
            "7",
            "8",
            "9",
            "10",
            "11",
            "12",  # NaN is not an answer
        ]
        assert {f.reason for f in lost} == {Reason.UNREADABLE}
        assert all(f.detail.encode() and "\n" not in f.detail for f in lost)

    def test_a_huge_line(self, tmp_path: Path) -> None:
        path = written(tmp_path, plain(text="So. " * 13_000_000), plain())
        first, second = read(path)
        assert isinstance(first, Trajectory)
        assert len(first.text) == 52_000_000
        assert isinstance(second, Trajectory)

    def test_a_line_that_is_too_long(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(json_records, "LONGEST_RECORD", 1000)
        path = written(tmp_path, plain(text="x" * 5000), plain(), plain(text="x" * 5000))
        first, second, third = read(path)
        assert isinstance(first, SkippedRecord)
        assert isinstance(third, SkippedRecord)
        assert "longer" in first.detail
        assert isinstance(second, Trajectory)
        assert second.source == "part.jsonl:2"

    def test_one_record_at_a_time_is_in_memory(self, tmp_path: Path) -> None:
        path = written(tmp_path, *[plain(text="x" * 100_000)] * 200)
        tracemalloc.start()
        try:
            assert sum(isinstance(f, Trajectory) for f in read(path)) == 200
            assert tracemalloc.get_traced_memory()[1] < 3_000_000
        finally:
            tracemalloc.stop()

    def test_a_truncated_gzip_file_is_read_up_to_its_end(self, tmp_path: Path) -> None:
        path = tmp_path / "part.jsonl.gz"
        data = gzip.compress(b"".join(json.dumps(plain(n=n)).encode() + b"\n" for n in range(5000)))
        path.write_bytes(data)
        assert sum(isinstance(f, Trajectory) for f in read(path)) == 5000
        path.write_bytes(data[: len(data) // 2])
        *read_before, last = read(path)
        assert read_before
        assert isinstance(last, SkippedRecord)
        assert last.reason is Reason.UNREADABLE
        assert last.source == f"part.jsonl.gz:{len(read_before) + 1}"

    def test_a_file_that_is_not_gzip_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "part.jsonl.gz"
        path.write_bytes(b'{"question": "Q?"}')
        with pytest.raises(SourceError, match=r"part\.jsonl\.gz is not compressed by gzip"):
            list(read(path))
        path.write_bytes(b"")
        assert list(read(path)) == []

    def test_a_source_that_cannot_be_read_is_an_error(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none.jsonl", tmp_path, written(tmp_path, "x", name="x.parquet")):
            with pytest.raises(SourceError):
                list(read(path))


class TestParquet:
    def write(self, path: Path, columns: dict[str, Any]) -> Path:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table(columns), path, row_group_size=50)
        return path

    def test_rows(self, tmp_path: Path) -> None:
        columns = {name: [value] * 130 for name, value in OPENR1_RECORD.items()}
        found = list(read(self.write(tmp_path / "a.parquet", columns)))
        assert len(found) == 130 * 4
        assert found[-4] == Trajectory(
            "What is 2 + 2?", "So 2 + 2.", "4", "a.parquet:130", claimed="4", verdict=True
        )
        assert [f.source for f in found[:4]] == [
            "a.parquet:1",
            *(f"a.parquet:1#{k}" for k in (2, 3, 4)),
        ]

    def test_a_row_without_text_and_a_row_that_is_not_utf8(self, tmp_path: Path) -> None:
        pyarrow = pytest.importorskip("pyarrow")
        texts = pyarrow.array([b"So.", b"\xff\xfe", None], pyarrow.binary()).view(pyarrow.string())
        columns = {"question": ["Q?"] * 3, "text": texts, "answer": [4, 4, 4]}
        first, second, third = read(self.write(tmp_path / "a.parquet", columns))
        assert isinstance(first, Trajectory)
        assert isinstance(second, SkippedRecord)
        assert (second.source, second.reason) == ("a.parquet:2", Reason.UNREADABLE)
        assert isinstance(third, SkippedRecord)
        assert (third.source, third.reason) == ("a.parquet:3", Reason.EMPTY)

    def test_only_the_needed_columns_are_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: set[str] = set()
        path = self.write(tmp_path / "a.parquet", {k: [v] for k, v in plain(more="x").items()})
        extract = sources.extract
        monkeypatch.setattr(
            sources, "extract", lambda r, layout: seen.update(r) or extract(r, layout)
        )
        list(read(path))
        assert seen == {"question", "text", "answer"}

    def test_unknown_columns(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "a.parquet", {"a": [1, 2]})
        assert [type(f) for f in read(path)] == [SkippedRecord, SkippedRecord]
        assert [type(f) for f in read(path, PLAIN)] == [SkippedRecord, SkippedRecord]


class TestDatasets:
    def test_streamed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[object] = []

        def load_dataset(*args: object, **more: object) -> Iterator[dict[str, object]]:
            calls.extend((*args, more))
            yield plain()
            yield {}
            raise ConnectionError("gone")

        library = ModuleType("datasets")
        monkeypatch.setattr(library, "load_dataset", load_dataset, raising=False)
        monkeypatch.setitem(sys.modules, "datasets", library)
        rows = read(Dataset("org/name", "test"))
        first, second = next(rows), next(rows)
        assert calls == ["org/name", {"split": "test", "streaming": True}]
        assert isinstance(first, Trajectory)
        assert first.source == "name:1"
        assert isinstance(second, SkippedRecord)
        with pytest.raises(SourceError, match="org/name: gone"):
            next(rows)

    @pytest.mark.parametrize(
        ("source", "extra"), [(Dataset("org/name"), "datasets"), (Path("a.parquet"), "curate")]
    )
    def test_a_missing_library_is_named(
        self,
        source: Path | Dataset,
        extra: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        written(tmp_path, plain(), name="a.parquet")
        for name in ("datasets", "pyarrow", "pyarrow.parquet"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(SourceError, match=rf"need .*'\.\[{extra}\]'"):
            list(read(source))
