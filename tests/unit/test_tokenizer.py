"""The tokenizer of a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tokenizers")

import tokenizers

from sprint_agent.countdown import solver
from sprint_agent.protocol.context import Context
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


BOS: dict[str, Any] = {"bos_token": "<s>"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, (0,)),
        # Llama 3: the post-processor alone adds it.
        (BOS, (0,)),
        ({**BOS, "add_bos_token": None}, (0,)),
        ({**BOS, "add_bos_token": True}, (0,)),
        # DeepSeek's distilled models write the token as an object.
        ({"add_bos_token": True, "bos_token": {"__type": "AddedToken", "content": "<s>"}}, (0,)),
        ({**BOS, "add_bos_token": False}, ()),
        ({"add_bos_token": True, "bos_token": None}, (0,)),
    ],
)
def test_a_context_begins_as_the_model_expects(
    folder: Path, config: dict[str, Any] | None, expected: tuple[int, ...]
) -> None:
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = FileTokenizer.load(folder)
    assert tokenizer.bos_ids == expected
    context = Context(tokenizer)
    context.append("ab")
    assert context.snapshot().ids == (*expected, 1, 2)
    assert context.snapshot().text == "ab"


@pytest.mark.parametrize(
    ("single", "expected"),
    [("<s> <s> $A", (0, 0)), ("$A <s>", ()), ("<s> $A <s>", (0,)), ("$A", ())],
)
def test_only_what_comes_before_a_text_begins_a_context(
    folder: Path, single: str, expected: tuple[int, ...]
) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=single, special_tokens=[("<s>", 0)]
    )
    assert FileTokenizer(tokenizer).bos_ids == expected


def test_a_bos_that_only_the_configuration_names_begins_a_context(folder: Path) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="$A")
    tokenizer.save(str(folder / "tokenizer.json"))
    assert FileTokenizer.load(folder).bos_ids == ()
    (folder / "tokenizer_config.json").write_text(json.dumps({**BOS, "add_bos_token": True}))
    assert FileTokenizer.load(folder).bos_ids == (0,)


def test_the_shipped_model_has_no_bos() -> None:
    assert FileTokenizer.load(solver.MODEL).bos_ids == ()


def test_a_configuration_that_is_no_object_is_refused(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json contains no JSON object"):
        FileTokenizer.load(folder)


def test_a_text_is_neither_cut_nor_filled(folder: Path) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(folder / "tokenizer.json"))
    assert FileTokenizer.load(folder).encode("abab") == [1, 2, 1, 2]
