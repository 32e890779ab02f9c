"""What a fine-tuning refuses before it loads a model, and the budget of another training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("deepspeed")

import torch

from train.config import Budget, Data, Settings, run_record, write_run_record
from train.errors import TrainingError
from train.finetune import RECORD, budget_of, finetune


def settings(folder: Path, epochs: float = 1.0) -> Settings:
    (folder / "train.jsonl").touch()
    data = Data(train=(folder / "train.jsonl",))
    return Settings(model="m", out=folder, data=data, budget=Budget(epochs=epochs), device="gpu")


def test_a_configuration_for_a_gpu_is_refused_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match="this configuration is for a GPU"):
        finetune(settings(tmp_path))


def test_a_started_folder_refuses_another_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    write_run_record(tmp_path, run_record(settings(tmp_path), 1))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "latest").write_text("update-3")
    with pytest.raises(TrainingError, match=r"a different budget\.epochs: give another --out"):
        finetune(settings(tmp_path, epochs=2.0))


def test_the_budget_of_a_finished_training_replaces_every_other_one(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text(json.dumps({"tokens": 500, "updates": 7}))
    changes = {"budget.tokens": 500, "budget.epochs": None, "budget.updates": None}
    assert budget_of(tmp_path, "tokens") == changes
    assert budget_of(tmp_path, "updates")["budget.updates"] == 7


@pytest.mark.parametrize("text", ["{", "{}"])
def test_a_folder_without_a_finished_training_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TrainingError, match="contains no finished training"):
        budget_of(tmp_path, "tokens")
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(TrainingError, match="contains no finished training"):
        budget_of(tmp_path, "tokens")
