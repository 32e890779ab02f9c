"""Models of families that can be fine-tuned have the loss of their own; others are refused in a line."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("deepspeed")

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from train.data.packing import forest
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
    """A model whose weights are spread so wide that each part of it tells."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**TINY, **more})
    model: Any = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, 0.0, 0.3)
    return model.float().train()


def check(model: Any) -> None:
    compatibility.parts(model)
    compatibility.reach(model, 64)
    compatibility.logits(model, CPU)


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("llama", {}),
        ("mistral", NO_WINDOW),
        ("mistral", {"sliding_window": 64}),
        ("mixtral", NO_WINDOW),
        ("qwen2", {}),
        # As DeepSeek's distilled models say it: there is a window, and it is not used.
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
def test_a_family_that_is_named_has_the_loss_of_its_own(family: str, more: dict[str, Any]) -> None:
    model = tiny(family, **more)
    ids = tuple(range(1, 61))
    labels = torch.tensor([ids])
    own = model(input_ids=labels, labels=labels).loss
    check(model)
    made = forest([Tree(Row(ids, (READ, *[PLAN] * 59)))])
    ours, _ = WeightedLM(model)(made, torch.tensor([0.0, 1.0, 1.0, 1.0, 1.0]), 59)
    assert float(ours) == pytest.approx(float(own), rel=1e-5)


@pytest.mark.parametrize(
    ("family", "more", "why"),
    [
        ("granite", {"logits_scaling": 8.0}, "scales or caps"),
        ("cohere", {}, "scales or caps"),
        ("nanochat", {}, "scales or caps"),
        ("gemma2", {"sliding_window": 64, "attn_logit_softcapping": None}, "scales or caps"),
        ("gemma2", {"sliding_window": 64, "final_logit_softcapping": None}, "caps the scores"),
        ("gemma3_text", {"sliding_window": 16}, "sliding_window is 16, and a context has 64"),
        ("mistral", {"sliding_window": 63}, "sliding_window is 63, and a context has 64"),
        (
            "qwen2",
            {"sliding_window": 8, "use_sliding_window": True, "max_window_layers": 1},
            "sliding_window is 8",
        ),
        ("llama4_text", {"attention_chunk_size": 16}, "attention_chunk_size is 16"),
        ("gpt_oss", {"sliding_window": 64}, "not those of its contexts"),
        ("opt", {"ffn_dim": 48}, "not those of its contexts"),
        ("falcon_h1", {}, "layers with hybrid"),
        ("stablelm", {}, "cannot read a tree"),
        ("gpt2", {}, "has no model"),
        ("gpt_neox", {}, "has no model"),
    ],
)
def test_what_would_learn_another_loss_is_refused(
    family: str, more: dict[str, Any], why: str
) -> None:
    with pytest.raises(TrainingError, match=why) as raised:
        check(tiny(family, **more))
    assert "\n" not in str(raised.value)


def test_a_window_is_refused_where_a_segment_sees_more() -> None:
    model = tiny("mistral", sliding_window=12)
    model.set_attn_implementation(attention.ATTENTION)
    trunk, branch = Row((1,) * 10, (READ,) * 10), Row((2,) * 5, (READ,) * 5)

    def read(at: int) -> None:
        made = forest([Tree(trunk, (Branch(at, branch),))] * 3)
        model(made.ids, position_ids=made.positions, segments=made.segments)

    read(7)
    with pytest.raises(TrainingError, match=r"window of 12 ids .* contexts of 13"):
        read(8)
