"""The loop's steps: which update is the last, and what a full memory ends in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("deepspeed")

import torch

from tests.unit.train.a_training import TREES, run, tiny_llama
from train.data.packing import pack_row
from train.data.padding import Batch
from train.errors import Diverged, OutOfMemory
from train.loop import distributed, loop
from train.loop.distributed import DeepSpeedModel
from train.loop.schedule import Update


def update(scale: float = 1.0, rows: int = 1) -> Update:
    batch = Batch(torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 3, dtype=torch.long))
    return Update([batch] * rows, 1.0, torch.ones(5), scale, 6 * rows)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_only_the_last_update_is_marked(count: int) -> None:
    marked = list(loop._mark_last(iter([update()] * count)))
    assert [last for _, last in marked] == [False] * max(0, count - 1) + [True] * min(1, count)


class Wrapped:
    """A model as DeepSpeed wraps it, which records what it is given."""

    device = torch.device("cpu")

    def __init__(self, error: Exception | None = None) -> None:
        self.scales: list[float] = []
        self.steps = 0
        self.error = error

    def __call__(self, row: Any, weights: torch.Tensor, scale: float) -> Any:
        if self.error:
            raise self.error
        self.scales.append(scale)
        return torch.tensor(1.0), torch.ones(2, 5)

    def backward(self, loss: torch.Tensor) -> None:
        pass

    def step(self) -> None:
        self.steps += 1

    def zero_optimization(self) -> bool:
        return True

    def fp16_enabled(self) -> bool:
        return False

    def get_global_grad_norm(self) -> float:
        return 0.25


def step(wrapped: Wrapped, given: Update) -> tuple[torch.Tensor, float | None]:
    distributed.start()
    return loop._step(cast(DeepSpeedModel, wrapped), given)


def test_deepspeeds_mean_over_rows_and_processes_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world", lambda: 2)
    wrapped = Wrapped()
    sums, norm = step(wrapped, update(scale=12.0, rows=3))
    assert norm == 0.25
    assert wrapped.scales == [2.0] * 3
    assert wrapped.steps == 3
    assert sums.tolist() == [[3.0] * 5] * 2


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_full_memory_ends_in_one_line(error: Exception) -> None:
    with pytest.raises(OutOfMemory, match="a row of 6 ids does not fit into memory: turn on"):
        step(Wrapped(error), update())


def test_another_error_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"):
        step(Wrapped(RuntimeError("shapes differ")), update())


@pytest.mark.parametrize("clipping", [0.0, 0.001, 1.0])
def test_the_norm_of_the_gradient_is_that_before_clipping(
    tmp_path: Path, clipping: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: list[float] = []
    original = distributed.norm_before_step

    def norm(wrapped: DeepSpeedModel) -> float | None:
        gradients = torch.cat([p.grad.flatten() for p in wrapped.module.parameters()])
        norms.append(float(gradients.norm()))
        return original(wrapped)

    monkeypatch.setattr(distributed, "norm_before_step", norm)
    steps = run(tiny_llama(), tmp_path, gradient_clipping=clipping)
    assert [step.gradient_norm for step in steps] == pytest.approx(norms, rel=1e-4)
    assert min(norms) > 0.01


def test_the_norm_of_the_gradient_is_the_same_in_each_zero_stage(tmp_path: Path) -> None:
    norms = {
        stage: [
            step.gradient_norm
            for step in run(tiny_llama(), tmp_path / str(stage), zero_optimization={"stage": stage})
        ]
        for stage in (0, 1, 2)
    }
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert norms[0] == pytest.approx(norms[2], rel=1e-4)


def checkpoint(folder: Path) -> dict[str, Any]:
    name = (folder / "latest").read_text()
    saved = torch.load(folder / name / "mp_rank_00_model_states.pt", weights_only=False)
    return saved["module"]


def spoil(model: Any, at: int, what: str, value: float) -> None:
    """Lets the loss (or the gradient) of a model's row number `at` be infinite or not a number."""
    calls = 0

    def change(_: Any, __: Any, logits: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += logits.requires_grad
        if not logits.requires_grad or calls != at:
            return logits
        if what == "loss":
            return logits * value
        logits.register_hook(lambda gradient: gradient * value)
        return logits

    model.lm_head.register_forward_hook(change)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("what", "named"),
    [("loss", "the loss of plan is"), ("gradient", "the norm of the gradient is")],
)
@pytest.mark.parametrize("stage", [0, 2])
def test_a_training_that_diverges_ends_at_the_first_update_and_keeps_the_checkpoint(
    tmp_path: Path, value: float, what: str, named: str, stage: int
) -> None:
    """Each update has a checkpoint, so the next one would replace the last one that is finite."""
    model = tiny_llama()
    # An update has two rows.
    spoil(model, 5, what, value)
    with pytest.raises(
        Diverged, match=rf"{named} (nan|inf) at update 3.* checkpoint update-2 is intact: lower"
    ) as raised:
        run(model, tmp_path, every=1, zero_optimization={"stage": stage})
    assert "\n" not in str(raised.value)
    assert (tmp_path / "latest").read_text() == "update-2"
    assert all(tensor.isfinite().all() for tensor in checkpoint(tmp_path).values())


def test_a_training_that_diverges_before_its_first_checkpoint_says_so(tmp_path: Path) -> None:
    model = tiny_llama()
    spoil(model, 1, "loss", float("nan"))
    with pytest.raises(Diverged, match=r"at update 1.*; no checkpoint was written: lower"):
        run(model, tmp_path)
    assert not (tmp_path / "latest").exists()


def test_a_validation_loss_that_is_not_a_number_ends_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = loop.WeightedLM.measure
    monkeypatch.setattr(loop.WeightedLM, "measure", lambda *a: original(*a) * float("nan"))
    with pytest.raises(Diverged, match="the validation loss is nan at update 2"):
        run(tiny_llama(), tmp_path, held_out=[pack_row(TREES[:1])])
    assert not (tmp_path / "latest").exists()


def test_a_step_that_loss_scaling_skips_is_no_divergence() -> None:
    class Scaled(Wrapped):
        norm = float("inf")

        def fp16_enabled(self) -> bool:
            return True

        def get_global_grad_norm(self) -> float:
            return self.norm

    _, norm = step(Scaled(), update())
    assert norm is None
