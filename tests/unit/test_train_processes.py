"""How processes that train together start."""

from __future__ import annotations

import pytest

pytest.importorskip("deepspeed")

import deepspeed
import torch

from train import engine


def test_each_process_takes_its_own_device_before_the_first_collective(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[object] = []
    monkeypatch.setenv("RANK", "11")
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", done.append)
    monkeypatch.setattr(deepspeed, "init_distributed", lambda **_: done.append("started"))
    engine.start()
    assert done == [3, "started"]
