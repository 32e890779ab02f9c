"""The loss: its scale, its sums by kind, and what is measured on held-out examples."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("transformers")

import torch
from torch import nn

from train.data.padding import Batch
from train.data.rows import ANSWER, DECISION, PLAN, READ
from train.model.loss import Measurement, WeightedLM, chunks, mean_by_role


class Fixed(nn.Module):
    """A model whose hidden state for each id is the row of that id in a table of logits."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 5)
        self.lm_head = nn.Identity()

    def set_attn_implementation(self, attn_implementation: str) -> None:
        assert attn_implementation == "sdpa"

    def model(self, input_ids: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=self.table(input_ids))


BATCH = Batch(torch.tensor([[1, 2, 3, 4]]), torch.tensor([[READ, PLAN, ANSWER, PLAN]]))
WEIGHTS = torch.tensor([0.0, 2.0, 1.0, 1.0, 0.5])


@pytest.mark.parametrize("parts", [1, 2])
def test_the_loss_is_weighted_and_scaled_and_its_sums_are_not(parts: int) -> None:
    model = Fixed()
    logs = model.table.weight.detach().log_softmax(-1)
    by_id = [-float(logs[before, target]) for before, target in ((1, 2), (2, 3), (3, 4))]
    loss, sums = WeightedLM(model, parts)(BATCH, WEIGHTS, 10.0)
    weighted = 2.0 * by_id[0] + 0.5 * by_id[1] + 2.0 * by_id[2]
    assert float(loss.detach()) == pytest.approx(weighted / 10.0, rel=1e-5)
    assert sums[0, PLAN].item() == pytest.approx(by_id[0] + by_id[2], rel=1e-5)
    assert sums[1].tolist() == [0, 2, 0, 0, 1]
    measured = WeightedLM(model, parts).measure(BATCH, 5)
    assert torch.allclose(measured[[0, 2]], sums, rtol=1e-5)


def test_a_measurement_is_a_mean_over_ids_and_by_role() -> None:
    sums = torch.zeros(3, DECISION + 2)
    sums[:, PLAN] = torch.tensor([6.0, 1.0, 3.0])
    sums[:, DECISION] = torch.tensor([1.0, 1.0, 1.0])
    sums[:, DECISION + 1] = torch.tensor([2.0, 0.0, 1.0])
    measurement = Measurement.from_sums(sums)
    assert measurement.loss == pytest.approx(9 / 5)
    assert measurement.accuracy == pytest.approx(2 / 5)
    assert measurement.decisions == pytest.approx(1 / 2)
    assert measurement.by_role == {"plan": 2.0, "decisions": 1.5}


def test_a_role_without_ids_has_no_loss() -> None:
    losses, counts = (
        torch.tensor([0.0, 3.0, 0.0, 0.0, 0.0]),
        torch.tensor([9.0, 2.0, 0.0, 0.0, 0.0]),
    )
    assert mean_by_role(losses, counts) == {"plan": 1.5}
    assert Measurement.from_sums(torch.zeros(3, DECISION)).loss == 0.0


def test_every_process_splits_the_logits_of_a_row_equally() -> None:
    assert [chunks(length) for length in (1, 4096, 4097, 32_768)] == [1, 1, 2, 8]
