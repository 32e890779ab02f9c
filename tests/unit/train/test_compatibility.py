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
LONGROPE: dict[str, Any] = {
    "original_max_position_embeddings": 64,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0, 1.1, 1.2, 1.3],
        "long_factor": [4.0, 5.0, 6.0, 7.0],
    },
}
"""Phi-3's: from 65 ids on, all contexts of a row are read with other frequencies."""
DYNAMIC: dict[str, Any] = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}


def tiny(family: str, **more: Any) -> Any:
    """A model with widely spread weights, so that each part changes the output."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**TINY, **more})
    model: Any = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, 0.0, 0.3)
    return model.float().train()


def check(model: Any, longest: int = 64) -> None:
    compatibility.check_structure(model)
    compatibility.check_context(model, longest)
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
        ("phi3", {**NO_WINDOW, **LONGROPE, "max_position_embeddings": 128}),
        ("llama", {"rope_parameters": DYNAMIC}),
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


def losses_beside_a_neighbour(model: Any, ids: tuple[int, ...], length: int) -> list[float]:
    """Returns the loss of a tree alone, in a padded row, and beside a tree of `length` ids."""
    tree = Tree(Row(ids, (READ, *[PLAN] * (len(ids) - 1))))
    beside = Tree(Row((1,) * length, (READ,) * length))
    rows = [pack_row([tree]), pack_row([tree], 200), pack_row([tree, beside])]
    weights = torch.tensor([0.0, 1.0, 1.0, 1.0, 1.0])
    return [float(WeightedLM(model)(row, weights, len(ids) - 1)[0].detach()) for row in rows]


@pytest.mark.parametrize(
    ("family", "more", "longest"),
    [
        ("phi3", {**NO_WINDOW, **LONGROPE, "max_position_embeddings": 128}, 64),
        ("llama", {"rope_parameters": DYNAMIC}, 64),
    ],
)
def test_the_loss_of_a_tree_does_not_depend_on_its_neighbours(
    family: str, more: dict[str, Any], longest: int
) -> None:
    model = tiny(family, **more)
    check(model, longest)
    alone, padded, beside = losses_beside_a_neighbour(model, tuple(range(1, 61)), longest)
    assert padded == pytest.approx(alone, rel=1e-5)
    assert beside == pytest.approx(alone, rel=1e-5)
    # With a longer neighbour it would, so that is refused.
    *_, beside = losses_beside_a_neighbour(model, tuple(range(1, 61)), 2 * longest)
    assert beside != pytest.approx(alone, rel=1e-3)
    why = rf"rotary embedding \({model.config.rope_parameters['rope_type']}\) .* more than 64 ids"
    with pytest.raises(TrainingError, match=rf"{why}, and the longest has 65: set .*tokens = 64"):
        check(model, longest + 1)


@pytest.mark.parametrize("kind", ["linear", "llama3", "yarn"])
def test_other_rotary_embeddings_are_supported(kind: str) -> None:
    rope = {"rope_type": kind, "rope_theta": 10000.0, "factor": 4.0}
    more = {"original_max_position_embeddings": 16} if kind != "linear" else {}
    llama3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0} if kind == "llama3" else {}
    model = tiny("llama", rope_parameters={**rope, **more, **llama3})
    check(model)
    alone, padded, beside = losses_beside_a_neighbour(model, tuple(range(1, 61)), 64)
    assert [padded, beside] == pytest.approx([alone, alone], rel=1e-5)


def test_an_unknown_rotary_embedding_is_refused() -> None:
    model = tiny("llama")
    for ropes in ({"rope_type": "new"}, {"full_attention": {"rope_type": "new"}}):
        model.config.rope_parameters = ropes
        compatibility.check_context(model, 64)
        with pytest.raises(TrainingError, match=r"rotary embedding \(new\) depends"):
            compatibility.check_context(model, 65)


def test_a_model_with_dropout_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"it has dropout \(model.layers.0.resid_attn_dropout"):
        check(tiny("phi3", **NO_WINDOW, resid_pdrop=0.1))
    with pytest.raises(TrainingError, match="attention_dropout is not supported"):
        check(tiny("llama", attention_dropout=0.1))


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
