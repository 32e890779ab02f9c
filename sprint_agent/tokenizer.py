"""The tokenizer of a model folder, read with the `tokenizers` library: no torch and no network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import tokenizers

_MARK = re.compile(r"[^\w\s].+[^\w\s]", re.DOTALL)


class FileTokenizer:
    """Implements the protocol `sprint_agent.engine.Tokenizer` for a folder's `tokenizer.json`.

    It neither adds nor drops special tokens, so ids and text always agree.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._special_tokens = {
            token: added.content
            for token, added in tokenizer.get_added_tokens_decoder().items()
            if added.special or _MARK.fullmatch(added.content)
        }

    @classmethod
    def load(cls, folder: Path) -> FileTokenizer:
        """Reads `folder/tokenizer.json`.

        Raises:
            OSError: The file cannot be read.
            Exception: The file is not a tokenizer. The `tokenizers` library raises plain Exception.
        """
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        return cls(tokenizers.Tokenizer.from_str(text))

    @property
    def vocab_size(self) -> int:
        return self._tokenizer.get_vocab_size()

    @property
    def special_tokens(self) -> Mapping[int, str]:
        """The text of each special token, by its id.

        Models such as Qwen and DeepSeek add marks like `<tool_call>` without calling them special. So
        an added token also counts if punctuation is around it. Added words and blanks do not.
        """
        return self._special_tokens

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)
