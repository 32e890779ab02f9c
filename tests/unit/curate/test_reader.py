"""The reader of all sources of a command, and the options that describe it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.drops import SkippedRecord
from curate.options import ReadOptions
from curate.read import sources
from curate.read.reader import Reader, is_streamed
from curate.read.sources import Dataset, SourceError
from curate.trajectory import Trajectory


def written(folder: Path, count: int) -> Path:
    records = [{"question": f"{n}?", "text": "So.", "answer": n} for n in range(count)]
    path = folder / "part.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records) + "broken\n")
    return path


def test_shards_are_disjoint_and_contain_everything(tmp_path: Path) -> None:
    path = str(written(tmp_path, 30))
    parts = [list(ReadOptions(shard=f"{n}/3").reader().items((path,))) for n in (1, 2, 3)]
    assert all(parts)
    items = [item for part in parts for item in part]
    questions = [item.question for item in items if isinstance(item, Trajectory)]
    assert sorted(questions) == sorted(f"{n}?" for n in range(30))
    # Exactly one shard reports the record that cannot be read.
    assert [item.source for item in items if isinstance(item, SkippedRecord)] == ["part.jsonl:31"]


def test_a_prefix_names_a_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(sources, "read", lambda source, layout: seen.append(source) or [])
    assert list(ReadOptions(split="test").reader().items(("datasets:org/name", "a"))) == []
    assert seen == [Dataset("org/name", "test"), Path("a")]
    assert is_streamed("datasets:org/name")
    assert not is_streamed("part.jsonl")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ReadOptions(question="q"), "must be given together"),
        (ReadOptions(answer="a"), "must be given together"),
        (ReadOptions(layout="x"), "no layout 'x': choose one of openr1, .*, trace"),
        (ReadOptions(shard="3/2"), "no shard 3/2"),
    ],
)
def test_wrong_options_are_named(options: ReadOptions, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options.reader()


def test_a_source_of_which_nothing_can_be_read_is_an_error(tmp_path: Path) -> None:
    good = written(tmp_path, 1)
    with good.open("a") as file:
        file.write('{"foo": 1}\n')
    assert any(isinstance(item, SkippedRecord) for item in Reader().items((str(good),)))
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"foo": 1}\n{"foo": 2}\n')
    with pytest.raises(
        SourceError, match=r"no record of .*bad\.jsonl can be read \(2 in all\): .*foo"
    ):
        list(Reader().items((str(good), str(bad))))
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    assert list(Reader().items((str(empty),))) == []
