"""Loading samples: which are too long, which are cut, and which are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tokenizers")

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from curate import samples
from curate.samples import Sample
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import StageText, Transcript
from sprint_agent.testing import CharTokenizer
from sprint_agent.tokenizer import FileTokenizer
from tests.unit.train.a_sample import CHARS, SAMPLE, text_of
from train.config import Data, Layout
from train.data.load import check_tokenizer, load_trees
from train.data.rows import EXECUTION, PROMPT
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


ALPHABET = sorted({chr(k) for k in range(32, 127)} | set("\n▁数"))


def characters(merges: list[tuple[str, str]]) -> tokenizers.Tokenizer:
    words = [*ALPHABET, *("".join(pair) for pair in merges)]
    vocabulary = {word: k for k, word in enumerate(words)}
    return tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))


def prepending() -> tokenizers.Tokenizer:
    """Puts a space before each text, as Mistral 7B's own tokenizer does, and hides it again."""
    tokenizer = characters([("P", "l"), ("▁", "a")])
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def metaspace() -> tokenizers.Tokenizer:
    tokenizer = characters([])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    return tokenizer


def stripping() -> tokenizers.Tokenizer:
    """Takes blanks off the ends of each text. Of a whole run it takes nothing."""
    tokenizer = characters([])
    tokenizer.normalizer = normalizers.Strip()
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def joining() -> tokenizers.Tokenizer:
    """Each id is a word, between which the decoder puts the spaces."""
    tokenizer = characters([])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(" ", "merged_with_next"),
            pre_tokenizers.Metaspace(prepend_scheme="never"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return tokenizer


def byte_level(**more: Any) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([SAMPLE.transcript.text], trainer)
    for name, value in more.items():
        setattr(tokenizer, name, value)
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "why"),
    [
        (prepending(), "is decoded as|differently together than one by one"),
        (metaspace(), "is decoded as|differently together than one by one"),
        (stripping(), "is decoded as"),
        (joining(), "differently together than one by one"),
        (byte_level(pre_tokenizer=pre_tokenizers.ByteLevel()), "puts no space before a text"),
        (byte_level(normalizer=normalizers.Lowercase()), "is decoded as"),
    ],
    ids=["prepending", "metaspace", "stripping", "joining", "prefix space", "lowercase"],
)
def test_a_tokenizer_that_reads_pieces_in_another_way_is_refused(
    tmp_path: Path, tokenizer: tokenizers.Tokenizer, why: str
) -> None:
    with pytest.raises(TrainingError, match=why) as raised:
        check_tokenizer(FileTokenizer(tokenizer), write(tmp_path, SAMPLE))
    assert "\n" not in str(raised.value)


def test_a_byte_level_tokenizer_is_accepted(tmp_path: Path) -> None:
    check_tokenizer(FileTokenizer(byte_level()), write(tmp_path, SAMPLE))
    check_tokenizer(FileTokenizer(byte_level(), [3]), write(tmp_path, SAMPLE))


@pytest.mark.parametrize("mark", ["", "\ufffd", "a\ufffd\ufffd😀\ufffd数", "e\u0301"])
@pytest.mark.parametrize("normalizer", [None, normalizers.NFC()])
def test_prompts_are_found_behind_odd_characters(mark: str, normalizer: Any) -> None:
    """U+FFFD is what a part of a character is decoded as. NFC makes a text shorter."""
    prompt = tags.prompt(1, 1, "add")
    plan = tags.plan(1, [f"{mark} then", prompt])
    sample = Sample(Transcript("q", (StageText(plan, ("3\n",)),), tags.answer("3")))
    tokenizer = FileTokenizer(byte_level(normalizer=normalizer))
    row = TreeBuilder(tokenizer).tree(sample).trunk
    found = tokenizer.decode([i for i, k in zip(row.ids, row.kinds, strict=True) if k == PROMPT])
    assert found == prompt


class LossyTokenizer(CharTokenizer):
    def decode(self, ids: Sequence[int]) -> str:
        return super().decode(ids).replace("_", "?")


def test_a_tokenizer_that_changes_the_tags_is_refused(tmp_path: Path) -> None:
    check_tokenizer(CHARS, write(tmp_path, SAMPLE))
    with pytest.raises(TrainingError, match="changes the text"):
        check_tokenizer(LossyTokenizer(), write(tmp_path, SAMPLE))
