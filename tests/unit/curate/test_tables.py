"""Tables: Parquet under any name, Arrow and Feather, CSV. None of them can fill memory."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from curate.drops import SkippedRecord
from curate.read import tables
from curate.read.sources import SourceError, read
from curate.trajectory import Trajectory

pyarrow: Any = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")
pytest.importorskip("pyarrow.feather")

ROWS = {
    "question": ["Q?"] * 2,
    "text": ["So.", "Hm."],
    "answer": [Decimal("4.00"), Decimal("0.50")],
}


def answers(path: Path) -> list[str]:
    found = list(read(path))
    return [f.answer if isinstance(f, Trajectory) else f.detail for f in found]


@pytest.mark.parametrize("name", ["a.parquet", "A.PARQUET", "a.pq", "part-0", "a.jsonl"])
def test_parquet_under_any_name(name: str, tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table(ROWS), tmp_path / name)
    assert answers(tmp_path / name) == ["4", "0.5"]


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_feather(compression: str, tmp_path: Path) -> None:
    path = tmp_path / "a.feather"
    pyarrow.feather.write_feather(pyarrow.table(ROWS), str(path), compression=compression)
    assert answers(path) == ["4", "0.5"]


def test_an_arrow_stream_and_a_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "data-00000-of-00001.arrow"
    table = pyarrow.table(ROWS)
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as out:
        out.write_table(table)
    assert answers(path) == ["4", "0.5"]
    path.write_bytes(path.read_bytes()[:-200])
    assert "corrupt" in answers(path)[-1]
    path.write_bytes(b"ARROW1\0\0....")
    with pytest.raises(SourceError, match="cannot read"):
        answers(path)


def test_parquet_with_nested_messages(tmp_path: Path) -> None:
    talk = [
        {"role": "user", "content": "Q?", "reasoning_content": None},
        {"role": "assistant", "content": "\\boxed{4}", "reasoning_content": "So."},
    ]
    pyarrow.parquet.write_table(pyarrow.table({"messages": [talk]}), tmp_path / "a.parquet")
    (found,) = read(tmp_path / "a.parquet")
    assert isinstance(found, Trajectory)
    assert (found.question, found.text, found.answer) == ("Q?", "So.", "4")


@pytest.mark.parametrize(
    "content",
    [
        'question,text,answer\r\nQ?,"So, ""x"".\nHm.",4\r\n',
        '\ufeffquestion;text;answer\nQ?;"So, ""x"".\nHm.";4\n',
        'question\ttext\tanswer\nQ?\t"So, ""x"".\nHm."\t4\n',
        'question,text,answer,more\nQ?,"So, ""x"".\nHm.",4\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_csv(content: str, encoding: str, tmp_path: Path) -> None:
    for name in ("a.csv", "A.TSV"):
        (tmp_path / name).write_bytes(content.lstrip("\ufeff").encode(encoding))
        (found,) = read(tmp_path / name)
        assert isinstance(found, Trajectory)
        assert (found.text, found.answer) == ('So, "x".\nHm.', "4")


def test_a_long_field_and_a_broken_one_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    long = "So. " * 50_000
    path.write_bytes(
        f"question,text,answer\nQ?,{long},4\nQ?,\udcff,4\nQ?,So.,5\n".encode(
            "utf-8", "surrogateescape"
        )
    )
    first, second, third = read(path)
    assert isinstance(first, Trajectory)
    assert first.text == long
    assert isinstance(second, SkippedRecord)
    assert isinstance(third, Trajectory)


class TestMemory:
    @pytest.mark.parametrize("rows", [1, 64])
    @pytest.mark.parametrize("nested", [False, True])
    def test_a_small_file_that_unpacks_to_much_is_refused(
        self, rows: int, nested: bool, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.parquet"
        text = "x" * 25_000_000
        columns = {"messages": [[{"role": "user", "content": text}]] * rows}
        if not nested:
            columns = {"question": ["Q?"] * rows, "text": [text] * rows, "answer": ["4"] * rows}
        pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd")
        assert path.stat().st_size < 10_000
        with pytest.raises(SourceError, match=r"unpack to [\d,]+, which no text does"):
            list(read(path))

    def test_columns_that_are_not_read_do_not_matter(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        columns = {**ROWS, "image": ["x" * 25_000_000] * 2}
        pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd")
        assert answers(path) == ["4", "0.5"]

    def test_long_values_that_many_rows_share_are_in_memory_a_few_at_a_time(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.parquet"
        shared = "".join(f"{n * n} " for n in range(100_000))
        columns = {"question": ["Q?"] * 64, "text": [shared] * 64, "answer": ["4"] * 64}
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        monkeypatch.setattr(tables, "_MOST_BYTES", 4 * len(shared))
        before = pyarrow.total_allocated_bytes()
        most = 0
        for found in read(path):
            assert isinstance(found, Trajectory)
            most = max(most, pyarrow.total_allocated_bytes() - before)
        assert most < 12 * len(shared)
