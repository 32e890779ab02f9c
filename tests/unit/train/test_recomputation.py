"""Gradient checkpointing keeps less for the backward pass, in the loop that trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("deepspeed")

import torch
from torch.autograd.graph import saved_tensors_hooks

from tests.unit.train.a_training import TREES, run, tiny_llama
from train.data.packing import pack_row
from train.errors import TrainingError
from train.model.recomputation import enable_recomputation


def kept_bytes(folder: Path, *, recomputation: bool) -> tuple[int, list[float]]:
    """Returns what a training keeps for its backward passes, and its losses."""
    model = tiny_llama(layers=6)
    if recomputation:
        enable_recomputation(model)
    kept = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        steps = run(model, folder)
    return kept, [step.losses["plan"] for step in steps]


def test_gradient_checkpointing_lowers_what_is_kept_and_changes_no_loss(tmp_path: Path) -> None:
    without, losses = kept_bytes(tmp_path / "without", recomputation=False)
    with_it, same = kept_bytes(tmp_path / "with", recomputation=True)
    assert with_it < without / 3
    assert same == losses


def test_a_training_resumes_in_train_mode_after_a_measurement(tmp_path: Path) -> None:
    modes: list[tuple[bool, bool]] = []
    model = tiny_llama()
    model.model.register_forward_hook(
        lambda *_: modes.append((model.training, torch.is_grad_enabled()))
    )
    run(model, tmp_path, count=2, every=1, held_out=[pack_row(TREES[:1])])
    # The first calls check the logits. Each of the two updates has two rows and one measurement.
    assert modes[-6:] == [(True, True), (True, True), (False, False)] * 2


def test_a_model_without_support_is_refused() -> None:
    class Old:
        def gradient_checkpointing_enable(self, options: dict[str, Any]) -> None:
            assert options == {"use_reentrant": False}
            raise ValueError("Old does not support gradient checkpointing.")

    with pytest.raises(TrainingError, match=r"Old does not support .*gradient_checkpointing = fal"):
        enable_recomputation(Old())
