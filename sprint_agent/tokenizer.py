"""The tokenizer of a model folder, through the `tokenizers` library: no torch, no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tokenizers


class FileTokenizer:
    """A folder's `tokenizer.json` as the protocol `engines.base.Tokenizer`.

    Special tokens are neither added nor dropped: ids and text say the same.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path) -> FileTokenizer:
        """Reads `folder/tokenizer.json`. Raises OSError where it cannot be read."""
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        return cls(tokenizers.Tokenizer.from_str(text))

    @property
    def vocab_size(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)
