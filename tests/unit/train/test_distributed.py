"""How processes that train together start, and how they hear of what failed in the first one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("deepspeed")

import deepspeed
import torch

from train.errors import CheckpointFailed, TrainingError
from train.loop import distributed


def test_each_process_takes_its_own_device_before_the_first_collective(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[object] = []
    monkeypatch.setenv("RANK", "11")
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", done.append)
    monkeypatch.setattr(deepspeed, "init_distributed", lambda **_: done.append("started"))
    distributed.start()
    assert done == [3, "started"]


def raising(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_whatever_fails_in_the_first_process_is_told_to_all() -> None:
    distributed.start()
    cause = RuntimeError("[enforce fail]\n  file write failed")
    with pytest.raises(TrainingError) as raised:
        distributed.first_alone(raising(cause))
    said = "the first process could not do its part: RuntimeError: [enforce fail] file write failed"
    assert str(raised.value) == said
    assert raised.value.__cause__ is cause
    with pytest.raises(CheckpointFailed, match="as it was"):
        distributed.first_alone(raising(CheckpointFailed("as it was")))


def test_it_is_told_to_the_others_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(failed: list[object]) -> None:
        failed[0] = CheckpointFailed("of the first")

    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", told)
    done: list[int] = []
    with pytest.raises(CheckpointFailed, match="of the first"):
        distributed.first_alone(lambda: done.append(1))
    assert not done
