"""An exported configuration has the names of transformers 4 and of transformers 5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("deepspeed")

import torch
from transformers import AutoModelForCausalLM

from sprint_agent.countdown import solver
from tests.unit.train.test_compatibility import LONGROPE, NO_WINDOW, tiny
from train.loop.export import save
from train.loop.older_names import with_older_names

IDS = torch.arange(1, 61)[None]
ROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 12_345.0}
"""No family has this theta by default."""
HALF = {**ROPE, "partial_rotary_factor": 0.5}
YARN = {**ROPE, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {**YARN, "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LINEAR = {**ROPE, "rope_type": "linear", "factor": 4.0}
EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "mistral": ("mistral", NO_WINDOW),
    "mixtral": ("mixtral", {**NO_WINDOW, "num_local_experts": 4}),
    "qwen2": ("qwen2", {}),
    "qwen2_moe": (
        "qwen2_moe",
        {**EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 16},
    ),
    "qwen3": ("qwen3", {"head_dim": 8}),
    # transformers 5 writes this number under another name than transformers 4.
    "qwen3_moe": ("qwen3_moe", {**EXPERTS, "num_local_experts": 6}),
    "gemma": ("gemma", {"head_dim": 8}),
    "phi3": ("phi3", NO_WINDOW),
    "olmo2": ("olmo2", {}),
    "smollm3": ("smollm3", {}),
    "glm4": ("glm4", {"head_dim": 8, "rope_parameters": HALF}),
    "phi3, half of each head": ("phi3", {**NO_WINDOW, "rope_parameters": HALF}),
    "phi3, LongRoPE": ("phi3", {**NO_WINDOW, **LONGROPE, "max_position_embeddings": 128}),
    "olmo2, linear": ("olmo2", {"rope_parameters": LINEAR}),
    "mistral, YaRN": ("mistral", {**NO_WINDOW, "rope_parameters": YARN}),
    "llama, llama3": ("llama", {"rope_parameters": LLAMA3}),
    "llama, dynamic": ("llama", {"rope_parameters": {**LINEAR, "rope_type": "dynamic"}}),
    "gemma3_text": (
        "gemma3_text",
        {
            "head_dim": 8,
            "sliding_window": 64,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {
                "full_attention": ROPE,
                "sliding_attention": {**ROPE, "rope_theta": 777.0},
            },
        },
    ),
}


@torch.no_grad()
def export(name: str, folder: Path) -> torch.Tensor:
    """Writes a tiny model as an export writes it, and returns its logits."""
    family, more = FAMILIES[name]
    model = tiny(family, **{"rope_parameters": ROPE, **more}).eval()
    save(model, folder)
    return model(IDS).logits


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_read_as_it_was_and_has_both_names(name: str, tmp_path: Path) -> None:
    logits = export(name, tmp_path)
    assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path)(IDS).logits, logits)
    config = json.loads((tmp_path / "config.json").read_text())
    ropes = config["rope_parameters"]
    rope = ropes.get("full_attention", ropes)
    assert config["rope_theta"] == rope["rope_theta"]
    assert config.get("partial_rotary_factor") == rope.get("partial_rotary_factor")
    assert config.get("rope_scaling", {"type": "default"})["type"] == rope["rope_type"]
    assert config["torch_dtype"] == config["dtype"] == "float32"


def test_a_name_that_is_there_is_kept_and_a_configuration_without_rope_gets_none() -> None:
    config = {"rope_theta": 5.0, "rope_parameters": {"rope_theta": 6.0}, "experts": 3}
    added = with_older_names(config, {"num_experts": "experts", "n_embd": "hidden_size"})
    assert added == {**config, "num_experts": 3}
    assert with_older_names({"rope_parameters": None}, {}) == {"rope_parameters": None}


def test_longrope_keeps_only_what_phi3_accepts() -> None:
    rope = {
        "rope_type": "longrope",
        "rope_theta": 1.0,
        "short_factor": [1.0],
        "long_factor": [2.0],
        "factor": 3.0,
        "original_max_position_embeddings": 7,
    }
    added = with_older_names({"rope_parameters": rope}, {})
    assert added["rope_scaling"] == {
        "type": "longrope",
        "short_factor": [1.0],
        "long_factor": [2.0],
    }
    assert added["original_max_position_embeddings"] == 7


@pytest.mark.parametrize("folder", [solver.MODEL, Path("benchmarks/models/rft")])
def test_the_shipped_models_have_both_names(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert with_older_names(config, {}) == config
    assert config["rope_theta"] == 10_000.0
