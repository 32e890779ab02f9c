"""The loop's steps: which update is the last, and what a full memory ends in."""

from __future__ import annotations

from typing import Any, cast

import pytest

pytest.importorskip("deepspeed")

import torch

from train.data.padding import Batch
from train.errors import OutOfMemory
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


def step(wrapped: Wrapped, given: Update) -> torch.Tensor:
    distributed.start()
    return loop._step(cast(DeepSpeedModel, wrapped), given)


def test_deepspeeds_mean_over_rows_and_processes_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world", lambda: 2)
    wrapped = Wrapped()
    sums = step(wrapped, update(scale=12.0, rows=3))
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
