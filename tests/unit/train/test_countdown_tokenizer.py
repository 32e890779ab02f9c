"""The Countdown tokenizer: its words, and text that it was not trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("transformers")

from transformers import AutoTokenizer

from sprint_agent.tokenizer import FileTokenizer
from train.countdown import tokenizer

TEXT = "<Plan_1>\n<prompt_1.1> a 11 - b 7 = 4, leaving 4, 5</prompt_1.1>\n</Plan_1>\n"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> FileTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(tokenizer.train([TEXT] * 4, 600), folder, 4096)
    return FileTokenizer.load(folder)


def test_tags_integers_and_phrases_are_single_tokens(reader: FileTokenizer) -> None:
    words = [reader.decode([token]) for token in reader.encode(TEXT)]
    assert "".join(words) == TEXT
    assert {"<Plan_1>\n", "</prompt_1.1>", "11", " = ", ", leaving "} <= set(words)


def test_any_other_text_is_encoded_as_its_bytes(reader: FileTokenizer) -> None:
    text = "naïve 数 😀 </Plan_9>\n"
    assert reader.decode(reader.encode(text)) == text


def test_the_end_is_one_token(reader: FileTokenizer) -> None:
    assert len(reader.encode(tokenizer.END)) == 1


def test_the_folder_names_a_class_that_transformers_4_and_5_know(tmp_path: Path) -> None:
    tokenizer.save(tokenizer.train(["1 + 2 = 3\n"] * 3, 300), tmp_path, 64)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert AutoTokenizer.from_pretrained(tmp_path).eos_token == tokenizer.END
