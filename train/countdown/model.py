"""The model that the Countdown recipe starts from: a small, randomly initialized Qwen3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import nn
from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The size of a model that is trained from scratch. `context_length` is in ids."""

    hidden: int = 160
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    feed_forward: int = 480
    context_length: int = 4096


Size = Literal["small", "medium", "large"]
SHAPES: dict[Size, ModelShape] = {
    "small": ModelShape(hidden=96, layers=3, feed_forward=288),
    "medium": ModelShape(),
    "large": ModelShape(hidden=256, layers=5, heads=8, key_value_heads=4, feed_forward=704),
}
"""The sizes of the ablation. `medium` is the one that ships."""


def build(shape: ModelShape, vocab_size: int, end_id: int, seed: int) -> Qwen3ForCausalLM:
    """Returns the model with its initial weights. Equal seeds give equal weights.

    The output matrices of each layer start at zero. With Muon, the model then learns more from the
    same number of ids.
    """
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.hidden // shape.heads,
        max_position_embeddings=shape.context_length,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end_id,
        pad_token_id=end_id,
    )
    model = Qwen3ForCausalLM(config)
    for layer in cast("list[Qwen3DecoderLayer]", model.model.layers):
        nn.init.zeros_(layer.self_attn.o_proj.weight)
        nn.init.zeros_(layer.mlp.down_proj.weight)
    return model
