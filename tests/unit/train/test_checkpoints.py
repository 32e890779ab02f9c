"""Checkpoints: which are kept, which is the best, and what a failed one leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("deepspeed")

from train.errors import CheckpointFailed
from train.loop import distributed
from train.loop.checkpoints import Checkpoints, TrainingState
from train.loop.distributed import DeepSpeedModel


class Files:
    """Saves and loads as DeepSpeed does, but only the client state."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Any]] = {}
        self.loaded: list[str] = []

    def save_checkpoint(self, save_dir: str, tag: str, client_state: dict[str, Any]) -> None:
        (Path(save_dir) / tag).mkdir(parents=True)
        self.states[tag] = client_state
        (Path(save_dir) / "latest").write_text(tag)

    def load_checkpoint(self, load_dir: str, tag: str | None = None) -> tuple[str, dict[str, Any]]:
        name = tag or (Path(load_dir) / "latest").read_text()
        self.loaded.append(name)
        return name, self.states[name]


@pytest.fixture
def files() -> Files:
    distributed.start()
    return Files()


def of(files: Files, folder: Path) -> Checkpoints:
    return Checkpoints(cast(DeepSpeedModel, files), folder)


def test_the_last_and_the_best_checkpoint_are_kept(files: Files, tmp_path: Path) -> None:
    checkpoints = of(files, tmp_path)
    assert checkpoints.load() == TrainingState()
    state = TrainingState()
    for updates, loss in ((3, 2.0), (6, 1.0), (9, 1.5), (12, 1.0)):
        state = TrainingState(updates, 10 * updates, state.best, state.best_loss)
        state = checkpoints.save(state, loss)
    assert (state.best, state.best_loss) == ("update-6", 1.0)
    assert {path.name for path in tmp_path.glob("update-*")} == {"update-6", "update-12"}
    assert of(files, tmp_path).load() == state
    files.loaded.clear()
    checkpoints.load_best(state)
    assert files.loaded == ["update-6"]


def test_without_a_measurement_the_last_weights_stay(files: Files, tmp_path: Path) -> None:
    checkpoints = of(files, tmp_path)
    state = checkpoints.save(TrainingState(3, 30), None)
    assert state == TrainingState(3, 30)
    checkpoints.load_best(state)
    assert not files.loaded


def test_a_checkpoint_of_an_older_version_can_be_loaded(files: Files, tmp_path: Path) -> None:
    older = {"place": {"updates": 4, "tokens": 9, "best": "update-4", "best_loss": 0.5}}
    files.save_checkpoint(str(tmp_path), "update-4", older)
    assert of(files, tmp_path).load() == TrainingState(4, 9, "update-4", 0.5)


def test_a_failed_checkpoint_leaves_the_previous_one(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = of(files, tmp_path)
    state = checkpoints.save(TrainingState(3, 30), None)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "save_checkpoint", full)
    with pytest.raises(CheckpointFailed, match=r"checkpoint update-6 cannot be written .* intact"):
        checkpoints.save(TrainingState(6, 60), None)
    assert checkpoints.load() == state


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (None, "FileNotFoundError: it is incomplete"),
        (AssertionError("DP world size\n changed"), "AssertionError: DP world size changed"),
        (KeyError("module"), "KeyError: 'module'"),
    ],
)
def test_a_checkpoint_that_cannot_be_read_ends_in_one_line(
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception | None,
    why: str,
) -> None:
    (tmp_path / "latest").write_text("update-3")

    def load(*_: Any) -> tuple[None, dict[str, Any]]:
        if failure:
            raise failure
        return None, {}

    monkeypatch.setattr(files, "load_checkpoint", load)
    with pytest.raises(CheckpointFailed, match=r"the last checkpoint cannot be read") as raised:
        of(files, tmp_path).load()
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(CheckpointFailed, match=r"update-2 cannot be read .* give another --out"):
        of(files, tmp_path).load_best(TrainingState(3, best="update-2"))
