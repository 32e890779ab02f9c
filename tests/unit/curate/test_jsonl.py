"""Records on disk: written completely or not at all, and by one process at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.files import jsonl
from curate.files.jsonl import Writer
from curate.trajectory import Trajectory


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a" / "jsonl.jsonl"
    with pytest.raises(TypeError), Writer(path) as writer:
        writer.write(object())
    assert list(path.parent.iterdir()) == []


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with (
        jsonl.exclusive(out, out / ".lock"),
        pytest.raises(jsonl.InUse, match=f"writes to {out}"),
        jsonl.exclusive(out, out / ".lock"),
    ):
        pass
    with jsonl.exclusive(out, out / ".lock"):
        pass


def test_a_corrupt_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "jsonl.jsonl"
    path.write_bytes(b'{"question": "q", "text": "t", "answer": "7"}\n{"question":\n')
    read = jsonl.read(path, Trajectory)
    assert next(read).answer == "7"
    with pytest.raises(ValueError, match="line 2: not a trajectory"):
        next(read)
