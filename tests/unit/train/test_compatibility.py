"""Supported model families get their own loss. Other models are refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("deepspeed")

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from train.data.packing import pack_row
from train.data.rows import PLAN, READ, Row
from train.data.trees import Branch, Tree
from train.errors import TrainingError
from train.model import attention, compatibility
from train.model.loss import WeightedLM

CPU = torch.device("cpu")
TINY: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
NO_WINDOW: dict[str, Any] = {"sliding_window": None}


def tiny(family: str, **more: Any) -> Any:
    """A model with widely spread weights, so that each part changes the output."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**TINY, **more})
    model: Any = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, 0.0, 0.3)
    return model.float().train()


def check(model: Any) -> None:
    compatibility.check_structure(model)
    compatibility.check_context(model, 64)
    compatibility.check_logits(model, CPU)


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("llama", {}),
        ("mistral", NO_WINDOW),
        ("mistral", {"sliding_window": 64}),
        ("mixtral", NO_WINDOW),
        ("qwen2", {}),
        # As in DeepSeek's distilled models: there is a window, but it is not used.
        ("qwen2", {"sliding_window": 8, "use_sliding_window": False}),
        ("qwen2_moe", {}),
        ("qwen3", {}),
        ("qwen3_moe", {}),
        ("gemma", {}),
        ("phi3", NO_WINDOW),
        ("olmo2", {}),
        ("smollm3", {}),
        ("glm4", {"head_dim": 8}),
    ],
)
def test_a_supported_family_has_its_own_loss(family: str, more: dict[str, Any]) -> None:
    model = tiny(family, **more)
    ids = tuple(range(1, 61))
    labels = torch.tensor([ids])
    own = model(input_ids=labels, labels=labels).loss
    check(model)
    packed = pack_row([Tree(Row(ids, (READ, *[PLAN] * 59)))])
    ours, _ = WeightedLM(model)(packed, torch.tensor([0.0, 1.0, 1.0, 1.0, 1.0]), 59)
    assert float(ours.detach()) == pytest.approx(float(own.detach()), rel=1e-5)


@pytest.mark.parametrize(
    ("family", "more", "why"),
    [
        ("granite", {"logits_scaling": 8.0}, "scales or caps"),
        ("cohere", {}, "scales or caps"),
        ("nanochat", {}, "scales or caps"),
        ("gemma2", {"sliding_window": 64, "attn_logit_softcapping": None}, "scales or caps"),
        ("gemma2", {"sliding_window": 64, "final_logit_softcapping": None}, "caps the scores"),
        (
            "gemma3_text",
            {"sliding_window": 16},
            "sliding_window is 16, but the longest context has 64",
        ),
        ("mistral", {"sliding_window": 63}, "sliding_window is 63, but the longest context has 64"),
        (
            "qwen2",
            {"sliding_window": 8, "use_sliding_window": True, "max_window_layers": 1},
            "sliding_window is 8",
        ),
        ("llama4_text", {"attention_chunk_size": 16}, "attention_chunk_size is 16"),
        ("gpt_oss", {"sliding_window": 64}, "differ by .* from those of the contexts"),
        ("opt", {"ffn_dim": 48}, "differ by .* from those of the contexts"),
        ("falcon_h1", {}, "layers with hybrid"),
        ("stablelm", {}, "cannot read a tree"),
        ("gpt2", {}, "has no model"),
        ("gpt_neox", {}, "has no model"),
    ],
)
def test_a_model_that_would_learn_another_loss_is_refused(
    family: str, more: dict[str, Any], why: str
) -> None:
    with pytest.raises(TrainingError, match=why) as raised:
        check(tiny(family, **more))
    assert "\n" not in str(raised.value)


def test_a_window_is_refused_if_a_segment_sees_more() -> None:
    model = tiny("mistral", sliding_window=12)
    model.set_attn_implementation(attention.ATTENTION)
    trunk, branch = Row((1,) * 10, (READ,) * 10), Row((2,) * 5, (READ,) * 5)

    def read(at: int) -> None:
        packed = pack_row([Tree(trunk, (Branch(at, branch),))] * 3)
        model(packed.ids, position_ids=packed.positions, segments=packed.segments)

    read(7)
    with pytest.raises(TrainingError, match=r"window of 12 ids .* contexts of 13"):
        read(8)
