"""The tokenizer of a model folder."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tokenizers")

import tokenizers

from sprint_agent.tokenizer import FileTokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose tokenizer adds `<s>` to a text and drops it when it decodes, by default."""
    vocabulary = {"<s>": 0, "a": 1, "b": 2}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.decoder = tokenizers.decoders.Fuse()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    assert tokenizer.encode("ab").ids == [0, 1, 2]
    assert tokenizer.decode([0, 1, 2]) == "ab"
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_special_tokens_are_neither_added_nor_dropped(folder: Path) -> None:
    tokenizer = FileTokenizer.load(folder)
    assert tokenizer.encode("ab") == [1, 2]
    assert tokenizer.encode("<s>b") == [0, 2]
    assert tokenizer.decode((0, 1, 2)) == "<s>ab"
    assert tokenizer.vocab_size == 3


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"tokenizer\.json"):
        FileTokenizer.load(tmp_path)
