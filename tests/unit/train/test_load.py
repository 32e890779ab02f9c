"""Loading samples: which are too long, which are cut, and which are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from curate import samples
from curate.samples import Sample
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import Transcript
from sprint_agent.testing import CharTokenizer
from tests.unit.train.a_sample import CHARS, SAMPLE, text_of
from train.config import Data, Layout
from train.data.load import check_tokenizer, load_trees
from train.data.rows import EXECUTION
from train.data.trees import TreeBuilder
from train.errors import TrainingError


def write(folder: Path, *given: Sample) -> tuple[Path, ...]:
    samples.write(given, folder / "train.jsonl")
    return (folder / "train.jsonl",)


@pytest.mark.parametrize("layout", ["branched", "linear", "expanded"])
def test_a_sample_that_is_too_long_is_dropped_or_cut_after_a_stage_and_counted(
    tmp_path: Path, layout: Layout
) -> None:
    short = Sample(Transcript("q", (), tags.answer("1")))
    paths = write(tmp_path, SAMPLE, short)
    # The first stage is short enough, and the second is not.
    longest = max(map(len, TreeBuilder(CHARS).cut(SAMPLE, 1, layout)))
    data = Data(train=paths, layout=layout, row_tokens=longest)
    loaded = load_trees(paths, data, CHARS, 10_000)
    assert (loaded.samples, loaded.dropped, loaded.cut) == (2, 1, 0)
    assert len(loaded.trees) == 1
    data = Data(train=paths, layout=layout, row_tokens=longest, longer="cut")
    loaded = load_trees(paths, data, CHARS, 10_000)
    assert (loaded.samples, loaded.dropped, loaded.cut) == (2, 0, 1)
    rows = [row for tree in loaded.trees for row in tree.own]
    assert text_of(rows, EXECUTION) == "ab\n</execution_cd\n</execution_"
    assert "<Plan_2>" not in "".join(CHARS.decode(row.ids) for row in rows)
    assert "1 too long and cut" in str(loaded)


def test_a_context_longer_than_that_of_the_model_is_too_long(tmp_path: Path) -> None:
    paths = write(tmp_path, SAMPLE)
    trees = TreeBuilder(CHARS).trees(SAMPLE, "branched")
    data = Data(train=paths)
    assert load_trees(paths, data, CHARS, trees[0].longest).dropped == 0
    with pytest.raises(TrainingError, match="no sample to train on"):
        load_trees(paths, data, CHARS, trees[0].longest - 1)


def test_files_without_a_sample_are_named(tmp_path: Path) -> None:
    path = tmp_path / "validation.jsonl"
    path.touch()
    with pytest.raises(
        TrainingError, match=r"there is no sample in .*validation\.jsonl: curate more"
    ):
        load_trees([path], Data((path,)), CHARS, 10_000)


def test_a_corrupt_sample_is_named_by_its_line(tmp_path: Path) -> None:
    (path,) = write(tmp_path, SAMPLE, SAMPLE)
    path.write_text(path.read_text() + "{\n")
    with pytest.raises(TrainingError, match="line 3"):
        load_trees((path,), Data(train=(path,)), CHARS, 10_000)


class LossyTokenizer(CharTokenizer):
    def decode(self, ids: Sequence[int]) -> str:
        return super().decode(ids).replace("_", "?")


def test_a_tokenizer_that_changes_the_tags_is_refused(tmp_path: Path) -> None:
    check_tokenizer(CHARS, write(tmp_path, SAMPLE))
    with pytest.raises(TrainingError, match="changes the text"):
        check_tokenizer(LossyTokenizer(), write(tmp_path, SAMPLE))
