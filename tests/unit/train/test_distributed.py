"""How processes start together, and how all of them learn of an error in the first one."""

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


def test_an_error_in_the_first_process_is_raised() -> None:
    distributed.start()
    cause = RuntimeError("[enforce fail]\n  file write failed")
    with pytest.raises(TrainingError) as raised:
        distributed.on_rank_zero(raising(cause))
    message = "the first process failed while the others waited: RuntimeError: [enforce fail] "
    assert str(raised.value) == message + "file write failed"
    assert raised.value.__cause__ is cause
    with pytest.raises(CheckpointFailed, match="as it was"):
        distributed.on_rank_zero(raising(CheckpointFailed("as it was")))


def test_an_error_in_the_first_process_is_raised_in_the_others_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def receive(failed: list[object]) -> None:
        failed[0] = CheckpointFailed("of the first")

    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", receive)
    done: list[int] = []
    with pytest.raises(CheckpointFailed, match="of the first"):
        distributed.on_rank_zero(lambda: done.append(1))
    assert not done
