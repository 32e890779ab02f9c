"""Opens a file and finds out what it is, by its first bytes rather than by its name.

Compression is removed, and UTF-16 and UTF-32 become UTF-8. A file that cannot be read is refused in
one line that says what it is.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

CORRUPT = (OSError, EOFError, zlib.error, lzma.LZMAError, UnicodeError)
"""What reading an open file raises if its content is truncated or corrupt."""

EXAMINED = 64 * 1024
"""How many bytes of a file are examined before it is read."""
_CHUNK = 1 << 17

Kind = Literal["text", "parquet", "arrow"]

_COMPRESSIONS = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x5d\x00\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
"""The first bytes of what each program writes."""
_SUFFIXES = {
    ".gz": "gzip",
    ".bz2": "bzip2",
    ".xz": "xz",
    ".lzma": "xz",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".lz4": "lz4",
}
_TABLES: tuple[tuple[bytes, Kind], ...] = (
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),
)
_PICKLE = "a Python pickle, which could run code: write its records as JSON lines"
_OTHERS = (
    (0, b"PK\x03\x04", "a ZIP archive: unpack it, or export a workbook as CSV"),
    (257, b"ustar", "a tar archive: unpack it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it"),
    (0, b"Rar!\x1a\x07", "a RAR archive: unpack it"),
    (0, b"\xff\x06\x00\x00sNaPpY", "compressed by Snappy: unpack it"),
    (0, b"PARE", "an encrypted Parquet file: decrypt it"),
    (0, b"FEA1", "a Feather file of version 1: write it again as Parquet"),
    (0, b"ORC", "an ORC file: write it again as Parquet"),
    (0, b"Obj\x01", "an Avro file: write it again as Parquet"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file: write it again as Parquet"),
    (0, b"SQLite format 3\x00", "an SQLite database: export its table as JSON lines"),
    (0, b"\x93NUMPY", "a NumPy array: write its records as JSON lines"),
    (0, b"GGUF", "the weights of a model, not trajectories"),
    (0, b"%PDF-", "a PDF document: extract its records as JSON lines"),
    (0, b"\x89PNG", "an image: extract its text as JSON lines"),
    (0, b"\xff\xd8\xff", "an image: extract its text as JSON lines"),
    (0, b"\xd0\xcf\x11\xe0", "an old Office document: export it as CSV"),
    (0, b"version https://git-lfs", "a Git LFS pointer: fetch the file itself by `git lfs pull`"),
    *((0, bytes([0x80, protocol]), _PICKLE) for protocol in range(2, 6)),
)
"""What cannot be read: where its mark is, the mark, what it is and what to do."""
_PAGES = (b"<!doctype", b"<html", b"<?xml")


class SourceError(Exception):
    """A source cannot be read at all. The message is one line that says why, and what to do."""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that was opened, without its compression."""

    kind: Kind
    content: BinaryIO
    """From its beginning. Text is UTF-8, without a byte order mark."""
    head: bytes
    """The first bytes of the content, which `content` still contains."""
    suffixes: tuple[str, ...]
    """The endings of the name in lower case, without that of a compression."""


@contextmanager
def open_file(path: Path) -> Generator[OpenFile]:
    """Opens a file for reading.

    Raises:
        SourceError: the file does not exist, or is of a kind that cannot be read.
    """
    if path.is_dir():
        raise SourceError(f"{path} is a folder: name the files in it, such as {path}/*.jsonl")
    if not path.is_file():
        raise SourceError(f"there is no file {path}")
    suffixes = tuple(suffix.lower() for suffix in path.suffixes)
    with ExitStack() as stack:
        try:
            file: BinaryIO = stack.enter_context(path.open("rb"))
            content, compression = _decompressed(path, file, suffixes)
            head, content = _examined(content)
            kind = _kind(path, head, compression)
            if kind == "text" and suffixes[-1:] == (".parquet",):
                kind = "parquet"  # Its reader says what is wrong with it.
            if kind == "text":
                head, content = _examined(_as_utf8(path, content, head))
        except CORRUPT as error:
            raise SourceError(f"cannot read {path}: {_reason(error)}") from error
        rest = suffixes[:-1] if suffixes and suffixes[-1] in _SUFFIXES else suffixes
        yield OpenFile(kind, content, head, rest)


def _decompressed(
    path: Path, file: BinaryIO, suffixes: tuple[str, ...]
) -> tuple[BinaryIO, str | None]:
    begins = file.read(16)
    file.seek(0)
    compression = next((name for mark, name in _COMPRESSIONS if begins.startswith(mark)), None)
    expected = _SUFFIXES.get(suffixes[-1]) if suffixes else None
    if compression is None and expected is not None and begins:
        raise SourceError(
            f"{path} is not compressed by {expected}: rename it without {path.suffix}"
        )
    match compression:
        case None:
            return file, None
        case "gzip":
            return cast(BinaryIO, gzip.open(file)), compression
        case "bzip2":
            return cast(BinaryIO, bz2.open(file)), compression
        case "xz":
            return cast(BinaryIO, lzma.open(file)), compression
        case other:
            return _buffered(_arrow_stream(path, file, other)), compression


def _arrow_stream(path: Path, file: BinaryIO, compression: str) -> Iterator[bytes]:
    try:
        import pyarrow
    except ImportError as error:
        raise missing(f"files compressed by {compression}", error, "curate") from error
    stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), compression)
    return iter(lambda: bytes(stream.read(_CHUNK)), b"")


def _kind(path: Path, head: bytes, compression: str | None) -> Kind:
    for mark, kind in _TABLES:
        if head.startswith(mark):
            if compression is not None:
                raise SourceError(f"{path} is a table compressed by {compression}: unpack it")
            return kind
    problem = next((what for at, mark, what in _OTHERS if head.startswith(mark, at)), None)
    if problem is None and head.lstrip()[:16].lower().startswith(_PAGES):
        problem = "a web page or XML, perhaps of a failed download: fetch the data itself"
    if problem is None and any(head.startswith(mark) for mark, _ in _COMPRESSIONS):
        problem = "compressed twice: unpack it once"
    if problem is not None:
        raise SourceError(f"{path} is {problem}")
    return "text"


def _as_utf8(path: Path, content: BinaryIO, head: bytes) -> BinaryIO:
    """Returns the content as UTF-8, whatever Unicode encoding it has."""
    encoding = json.detect_encoding(head) if head else "utf-8"
    if encoding.startswith("utf-8"):
        if head.startswith(codecs.BOM_UTF8):
            content.read(len(codecs.BOM_UTF8))
        if b"\x00" in head:
            raise SourceError(f"{path} is binary data of an unknown kind, not text")
        return content
    return _buffered(_transcoded(content, encoding))


def _transcoded(content: BinaryIO, encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    while chunk := content.read(_CHUNK):
        yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
    yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")


class _Chunks(io.RawIOBase):
    """A file of chunks that are made one after another."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def _buffered(chunks: Iterator[bytes]) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Chunks(chunks), _CHUNK))


def _examined(content: BinaryIO) -> tuple[bytes, BinaryIO]:
    """Returns the first bytes of a file, and the file from its beginning."""
    head = b""
    error: BaseException | None = None
    try:
        while len(head) < EXAMINED and (more := cast(Any, content).read1(EXAMINED)):
            head += more
    except CORRUPT as caught:
        if not head:
            raise
        error = caught

    def chunks() -> Iterator[bytes]:
        yield head
        if error is not None:
            raise error
        while chunk := content.read(_CHUNK):
            yield chunk

    return head, _buffered(chunks())


def _reason(error: BaseException) -> str:
    strerror = getattr(error, "strerror", None)
    return str(strerror or error or type(error).__name__).splitlines()[0]


def missing(what: str, error: ImportError, extra: str) -> SourceError:
    """Returns the error for a library that is not installed."""
    return SourceError(f"{what} need {error.name}: from a checkout, pip install -e '.[{extra}]'")
