"""Training on a GPU: attention, precision and speed. Skipped if there is no GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("deepspeed")

import torch

from benchmarks import training
from tests.unit.train.test_trees import WEIGHTS, loss_of, tiny
from train.data.packing import PackedRow, pack_row
from train.data.rows import EXECUTION, PLAN, READ, Row
from train.data.trees import Branch, Tree
from train.model.loss import WeightedLM

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


def trees() -> PackedRow:
    trunk = Row(tuple(k % 127 + 1 for k in range(700)), (READ, *[PLAN] * 699))
    branch = Row(tuple(k % 101 + 1 for k in range(300)), (READ, *[EXECUTION] * 299))
    return pack_row([Tree(trunk, (Branch(150, branch), Branch(420, branch)))] * 3, 4096)


def test_flex_attention_has_the_losses_and_gradients_of_attention_by_segments() -> None:
    cpu = WeightedLM(tiny(1))
    gpu = WeightedLM(tiny(1)).to("cuda")
    one = loss_of(cpu, trees())
    other = gpu(trees().to(torch.device("cuda")), WEIGHTS.to("cuda"), 1.0)[0]
    assert torch.allclose(one, other.cpu(), rtol=1e-3)
    one.backward()
    other.backward()
    for a, b in zip(cpu.parameters(), gpu.parameters(), strict=True):
        if a.grad is not None and b.grad is not None:
            assert torch.allclose(
                a.grad, b.grad.cpu(), rtol=1e-2, atol=1e-2 * float(a.grad.abs().max())
            )


@pytest.mark.slow
def test_the_speed_of_a_model_of_1_5_billion_parameters(tmp_path: Path) -> None:
    """Prints and saves the measured speed. No bound on time is asserted."""
    speeds = list(training.measure(training.GPU))
    found = training.to_json(training.GPU, speeds)
    (tmp_path / "speed.json").write_text(json.dumps(found))
    print(json.dumps(found))
    assert all(speed > 0 for speed in found["tokens_per_second"].values())
