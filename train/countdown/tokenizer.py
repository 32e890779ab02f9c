"""The Countdown tokenizer: byte-level BPE whose words are tags, integers and phrases of the data.

A tag is split from the text around it, so that the end of its closing tag is the end of a token. An
integer is one word. The text between integers on a line (" = ", ", leaving ", ": + ") is one word
too. Frequent words become single tokens. Any other text is encoded as its bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

END = "<|end|>"
_WORDS = (
    r"(?:\n-----)?\n?<prompt_\d+\.\d+[^<>\n]*> ?"  # an opening prompt tag, and dashes before it
    r"| ?</prompt_\d+\.\d+>"
    r"|\n?<(?:Plan|Execution|execution|Question|think|Final_answer)[\d_.]*(?: accepted)?>\n?"
    r"|</[A-Za-z_]+[\d.]*>"
    r"|\\boxed\{"
    r"|\b[a-f] (?=\d)"  # a number's name
    r"|\d+"
    r"|[()]"
    r"|[^\d\n<>()]*\n+"
    r"|[^\d\n<>()]+?(?=\b[a-f] \d|\\boxed\{)"
    r"|[^\d\n<>()]+"
)


def train(texts: Iterable[str], size: int) -> tokenizers.Tokenizer:
    """Trains a tokenizer of at most `size` entries on `texts`."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save(tokenizer: tokenizers.Tokenizer, folder: Path, context_length: int) -> None:
    """Saves a tokenizer in the Hugging Face layout. `context_length` is in ids."""
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, model_max_length=context_length
    )
    fast.save_pretrained(folder)
    # transformers 4 does not know the name that transformers 5 writes. transformers 5 knows both.
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
