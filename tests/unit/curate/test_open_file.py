"""What a file is, is told by its content: it is read, or refused in one line that says what it is."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from curate.drops import Reason, SkippedRecord
from curate.read.sources import SourceError, read
from curate.trajectory import Trajectory
from tests.unit.curate.test_layouts import plain

LINES = "".join(
    json.dumps(plain(n=n, text="So — ∑."), ensure_ascii=False) + "\n" for n in range(3)
).encode()


def texts(path: Path) -> list[str]:
    found = list(read(path))
    assert all(isinstance(item, Trajectory) for item in found), found
    return [item.text for item in found if isinstance(item, Trajectory)]


def with_arrow(name: str) -> Callable[[bytes], bytes]:
    pyarrow = pytest.importorskip("pyarrow")
    return lambda data: pyarrow.compress(data, codec=name, asbytes=True)


PACKERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("part.jsonl.gz", gzip.compress),
    ("part.JSONL.GZ", gzip.compress),
    ("part.jsonl", gzip.compress),
    ("part.jsonl.bz2", bz2.compress),
    ("part.jsonl.xz", lzma.compress),
    ("part.lzma", lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE)),
    ("part.jsonl.zst", lambda data: with_arrow("zstd")(data)),
    ("part.jsonl.lz4", lambda data: with_arrow("lz4")(data)),
]


@pytest.mark.parametrize(("name", "packed"), PACKERS, ids=[name for name, _ in PACKERS])
def test_compressed_files(name: str, packed: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(packed(LINES[:200]) + packed(LINES[200:]))
    assert texts(path) == ["So — ∑."] * 3


@pytest.mark.parametrize(("name", "packed"), PACKERS, ids=[name for name, _ in PACKERS])
def test_compressed_files_that_end_early(
    name: str, packed: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / name
    noise = "".join(f"{n * n} " for n in range(200_000))
    path.write_bytes(packed(LINES + json.dumps(plain(text=noise)).encode())[:-40])
    *good, last = read(path)
    assert len(good) >= 3 or name.endswith("bz2")
    assert isinstance(last, SkippedRecord)
    assert last.reason is Reason.UNREADABLE
    assert "corrupt" in last.detail


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"]
)
def test_unicode_encodings(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "part.jsonl"
    path.write_bytes(LINES.decode().encode(encoding))
    assert texts(path) == ["So — ∑."] * 3
    path.write_bytes(gzip.compress(LINES.decode().encode(encoding)))
    assert texts(path) == ["So — ∑."] * 3


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "part.jsonl"
    line = json.dumps(plain(text="é"), ensure_ascii=False).encode("latin-1")
    path.write_bytes(line + b"\n" + LINES)
    first, *others = read(path)
    assert isinstance(first, SkippedRecord)
    assert first.detail.startswith("not UTF-8 (byte 0xe9")
    assert len(others) == 3


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04....", "a ZIP archive"),
        (b"part.jsonl".ljust(257, b"\0") + b"ustar  ", "a tar archive"),
        (b"SQLite format 3\x00", "an SQLite database"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x93NUMPY\x01", "a NumPy array"),
        (b"ORC....", "an ORC file"),
        (b"Obj\x01", "an Avro file"),
        (b"%PDF-1.7", "a PDF document"),
        (b"GGUF....", "weights of a model"),
        (b"version https://git-lfs.github.com/spec/v1\noid 1", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html>\n<html>", "a web page"),
        (b"<?xml version='1.0'?>", "XML"),
        (pickle.dumps([plain()]), "a Python pickle"),
        (gzip.compress(gzip.compress(LINES)), "compressed twice"),
        (gzip.compress(b"PAR1...."), "a table compressed by gzip"),
        (b'{"a": "\x01\x00\x02\x00' + bytes(range(256)), "binary data"),
        (b"Dear reader,\nthis is prose.\n", "not JSON, it begins with 'Dear reader,"),
        (b"question,text,answer\nQ?,So.,4\n", r"must be named \.csv"),
    ],
)
def test_what_cannot_be_read_is_named(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "part.jsonl"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=what) as caught:
        list(read(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a folder: name the files in it"):
        list(read(tmp_path))


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    path = tmp_path / "part.jsonl"
    for content in (b"", b"\n \n", b"\xef\xbb\xbf", gzip.compress(b"")):
        path.write_bytes(content)
        assert list(read(path)) == []
