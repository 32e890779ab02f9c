"""The tokenizer of a model folder, read with the `tokenizers` library: no torch and no network."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import tokenizers

_MARK = re.compile(r"[^\w\s].+[^\w\s]", re.DOTALL)


class FileTokenizer:
    """Implements the protocol `sprint_agent.engine.Tokenizer` for a folder's `tokenizer.json`.

    It neither adds nor drops special tokens, so ids and text always agree. `bos_ids` says which ones
    the model expects at the start of a context.
    """

    def __init__(
        self, tokenizer: tokenizers.Tokenizer, bos_ids: Sequence[int] | None = None
    ) -> None:
        """Wraps a tokenizer.

        Args:
            tokenizer: The tokenizer.
            bos_ids: The ids at the start of each context. By default, those that the tokenizer's own
                post-processor puts before a text.
        """
        self._tokenizer = tokenizer
        self._special_tokens = {
            token: added.content
            for token, added in tokenizer.get_added_tokens_decoder().items()
            if added.special or _MARK.fullmatch(added.content)
        }
        self._bos_ids = _added_before_text(tokenizer) if bos_ids is None else tuple(bos_ids)

    @classmethod
    def load(cls, folder: Path) -> FileTokenizer:
        """Reads `folder/tokenizer.json`, and from `tokenizer_config.json` whether a context has a BOS.

        Raises:
            OSError: A file cannot be read.
            Exception: A file is not that of a tokenizer. The `tokenizers` library raises plain
                Exception.
        """
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        try:
            tokenizer = tokenizers.Tokenizer.from_str(text)
            # Some files ask for batches of equal length. A context must be neither cut nor filled.
            tokenizer.no_truncation()
            tokenizer.no_padding()
            return cls(tokenizer, _configured_bos(folder / "tokenizer_config.json", tokenizer))
        except BaseException as error:
            # The library's Rust code may panic. In Python, that is a BaseException.
            if type(error).__name__ != "PanicException":
                raise
            raise ValueError(f"tokenizer.json is corrupt ({error})") from error

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

    @property
    def bos_ids(self) -> tuple[int, ...]:
        """The special tokens that the model expects at the start of each context. Often none."""
        return self._bos_ids

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)


def _added_before_text(tokenizer: tokenizers.Tokenizer) -> tuple[int, ...]:
    """Returns the ids that a tokenizer's post-processor puts before a text."""
    encoding = tokenizer.encode("a", add_special_tokens=True)
    mask = [*encoding.special_tokens_mask, 0]
    return tuple(encoding.ids[: mask.index(0)]) if 0 in mask[:-1] else ()


def _configured_bos(path: Path, tokenizer: tokenizers.Tokenizer) -> tuple[int, ...] | None:
    """Returns the BOS that a `tokenizer_config.json` asks for, or None if it leaves that open.

    transformers lets `add_bos_token` decide, if it is there, whatever the post-processor does.
    """
    if not path.exists():
        return None
    config: object = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError(f"{path} contains no JSON object: restore the model's own file")
    entries = cast("Mapping[str, object]", config)
    added, token = entries.get("add_bos_token"), entries.get("bos_token")
    if isinstance(token, dict):
        token = cast("Mapping[str, object]", token).get("content")
    if not isinstance(added, bool):
        return None
    if not added:
        return ()
    bos = tokenizer.token_to_id(token) if isinstance(token, str) else None
    return None if bos is None else (bos,)
