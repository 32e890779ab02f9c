"""Checkpoints: what a training resumes from.

A training's folder contains the last checkpoint and, if held-out examples are measured, the best
one. DeepSpeed names the last one in the file `latest`, which it writes at the very end, so an
incomplete checkpoint is never loaded.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from train.errors import CheckpointFailed, one_line
from train.loop.distributed import DeepSpeedModel, on_rank_zero

_STATE = "place"
"""The key of the state in a checkpoint. Older checkpoints contain it, so it is not renamed."""


@dataclass(frozen=True, slots=True)
class TrainingState:
    """How far a training is."""

    updates: int = 0
    """Updates done."""
    tokens: int = 0
    """Ids trained on."""
    best: str = ""
    """The name of the checkpoint with the lowest held-out loss, or "" if there is none."""
    best_loss: float = float("inf")


class Checkpoints:
    """The checkpoints of one model in a folder."""

    def __init__(self, wrapped: DeepSpeedModel, folder: Path) -> None:
        self._wrapped = wrapped
        self._folder = folder

    def load(self) -> TrainingState:
        """Loads the last checkpoint and returns its state, or the initial state if there is none.

        Raises:
            CheckpointFailed: the checkpoint cannot be read.
        """
        if not (self._folder / "latest").exists():
            return TrainingState()
        return TrainingState(**self._load(None)[_STATE])

    def save(self, state: TrainingState, loss: float | None) -> TrainingState:
        """Saves a checkpoint, and marks it as the best one if its held-out `loss` is the lowest so far.

        Returns the state with the name of the best checkpoint.

        Raises:
            CheckpointFailed: the checkpoint cannot be written. The previous one is intact.
        """
        name = f"update-{state.updates}"
        if loss is not None and loss < state.best_loss:
            state = replace(state, best=name, best_loss=loss)
        saved = {_STATE: asdict(state)}
        try:
            self._wrapped.save_checkpoint(str(self._folder), name, client_state=saved)
        except (OSError, RuntimeError) as cause:
            raise CheckpointFailed(
                f"checkpoint {name} cannot be written to {self._folder} ({cause}); the previous one is "
                f"intact: free some space and start again to resume from it"
            ) from cause
        on_rank_zero(lambda: self._remove_others({name, state.best}))
        return state

    def load_best(self, state: TrainingState) -> None:
        """Loads the best checkpoint, unless there is none or it is the last one."""
        if state.best and state.best != f"update-{state.updates}":
            # The optimizer's state is loaded too: without it, ZeRO 3 takes the weights of `latest`.
            self._load(state.best)

    def _load(self, name: str | None) -> dict[str, Any]:
        """Loads a checkpoint, or the last one, and returns what was saved with it."""
        try:
            path, saved = self._wrapped.load_checkpoint(str(self._folder), name)
            if path is None or _STATE not in saved:
                raise FileNotFoundError("it is incomplete")
        # DeepSpeed, torch and pickle raise different errors for files that are missing, cut, of
        # another model or of another number of processes.
        except Exception as cause:
            raise CheckpointFailed(
                f"{name or 'the last checkpoint'} cannot be read from {self._folder} "
                f"({one_line(cause)}): resume with the same model, ZeRO stage and number of "
                f"processes, or give another --out"
            ) from cause
        return saved

    def _remove_others(self, names: set[str]) -> None:
        for path in self._folder.glob("update-*"):
            if path.name not in names:
                shutil.rmtree(path)
