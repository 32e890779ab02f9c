"""A tiny random Qwen2 with a byte-level tokenizer, as a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

CONTEXT = 512
VOCABULARY = 86


def build_tokenizer() -> Any:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<eos>"],
        show_progress=False,
    )
    lines = ["use the numbers 3 5 7 to make 24", "the plan: <p>3 + 5</p> costs 7 €, naïve 😀"] * 4
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def build_model(folder: Path) -> Path:
    """A random Qwen2: 2 layers, 32 wide, two query heads for each key head."""
    tokenizer = build_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    # With this seed, the greedy answers are complete characters for a while.
    torch.manual_seed(13)
    options: dict[str, Any] = {
        # Eight rows more than the tokenizer has tokens, as in many checkpoints.
        "vocab_size": tokenizer.get_vocab_size() + 8,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
        # A wide spread. With a narrow one, the random model repeats one token.
        "initializer_range": 0.4,
        "bos_token_id": None,
        "eos_token_id": 0,
    }
    model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**options))
    model.save_pretrained(folder)
    return folder
