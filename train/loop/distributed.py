"""DeepSpeed: its processes, its engine, its checkpoints, and the weights gathered out of it.

A training's folder holds one checkpoint to go on from and, where held-out examples are measured, the
best one. DeepSpeed names the former in `latest`, which it writes last: a checkpoint that was broken off
is never taken for one.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed import comm
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from train.errors import CheckpointFailed, ExportFailed, TrainingError

_GATHERED = "gathered.bin"


_GROUP = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def start() -> None:
    """Starts DeepSpeed's process group; a process of its own where no launcher has set one up."""
    if "RANK" not in os.environ:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
        os.environ.update(alone, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    if not torch.cuda.is_available():
        # Its shared-memory op would be compiled at first use, for minutes, and gloo does without it.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        # Nor is Muon faster compiled here, and a machine without a C++ compiler can train too.
        torch.compiler.set_stance("force_eager")
    else:
        # Before the first collective, which else is on the first device, whichever process it is of.
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    deepspeed.init_distributed(dist_backend=None if torch.cuda.is_available() else "gloo")


def config(rows: int, optimizer: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What DeepSpeed is told, where an update takes `rows` rows of each process, one by one."""
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": rows,
        "gradient_clipping": 1.0,
        "steps_per_print": 10**9,
        "optimizer": optimizer,
        **more,
    }


def stop() -> None:
    """Leaves the process group, when all have come so far: before a process ends, not in between."""
    comm.barrier()
    comm.destroy_process_group()


def environment() -> dict[str, str]:
    """The environment for a process that is not of this group: it sets up one of its own."""
    return {name: value for name, value in os.environ.items() if name not in _GROUP}


def rank() -> int:
    """The number of this process among all."""
    return comm.get_rank()


def world() -> int:
    """How many processes train together."""
    return comm.get_world_size()


def add_up(values: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes."""
    comm.all_reduce(values)
    return values


def first_alone(work: Callable[[], object]) -> None:
    """Does something in the first process, while the others wait.

    Where it failed, all raise TrainingError, or what it raised of that kind.
    """
    failed: list[TrainingError | None] = [None]
    if rank() == 0:
        try:
            work()
        except TrainingError as error:
            failed[0] = error
        except Exception as cause:
            line = " ".join(f"{type(cause).__name__}: {cause}".split())
            failed[0] = TrainingError(f"the first process could not do its part: {line}")
            failed[0].__cause__ = cause
    torch.distributed.broadcast_object_list(failed)
    if failed[0] is not None:
        raise failed[0]


@dataclass(frozen=True, slots=True)
class Place:
    """How far a training is: updates and ids done, and the checkpoint that measured best."""

    updates: int = 0
    tokens: int = 0
    best: str = ""
    best_loss: float = float("inf")


class Checkpoints:
    """The checkpoints of one engine in a folder."""

    def __init__(self, engine: Any, folder: Path) -> None:
        self._engine = engine
        self._folder = folder

    def load(self) -> Place:
        """Goes on from the last checkpoint, or from nothing where there is none."""
        if not (self._folder / "latest").exists():
            return Place()
        _, state = self._engine.load_checkpoint(str(self._folder))
        return Place(**state["place"])

    def save(self, place: Place, loss: float | None) -> Place:
        """Keeps the state at a place, and the best one by `loss`, where that is given.

        Raises CheckpointFailed; the checkpoint before stands.
        """
        name = f"update-{place.updates}"
        if loss is not None and loss < place.best_loss:
            place = replace(place, best=name, best_loss=loss)
        state = {"place": asdict(place)}
        try:
            self._engine.save_checkpoint(str(self._folder), name, client_state=state)
        except (OSError, RuntimeError) as cause:
            raise CheckpointFailed(
                f"checkpoint {name} could not be written to {self._folder} ({cause}); "
                f"the one before it is whole: make room, and start again to go on from there"
            ) from cause
        first_alone(lambda: self._keep({name, place.best}))
        return place

    def load_best(self, place: Place) -> None:
        """Goes back to the weights that were best, where that was asked for."""
        if place.best and place.best != f"update-{place.updates}":
            # With the optimizer's state: without it, ZeRO 3 takes the weights that `latest` names.
            self._engine.load_checkpoint(str(self._folder), place.best)

    def _keep(self, names: set[str]) -> None:
        for path in self._folder.glob("update-*"):
            if path.name not in names:
                shutil.rmtree(path)


def export(engine: Any, model: PreTrainedModel, folder: Path, dtype: torch.dtype) -> None:
    """Writes the weights, gathered from all processes, and the configuration as safetensors.

    Raises ExportFailed.
    """
    failed: Exception | None = None
    try:
        engine.save_16bit_model(str(folder), _GATHERED)
    except (OSError, RuntimeError) as error:
        # Of the first process, which writes: the others are on their way to where they hear of it.
        failed = error

    def write() -> None:
        gathered = folder / _GATHERED
        try:
            with exporting(folder):
                if failed is not None:
                    raise failed
                held = torch.load(gathered, map_location="cpu", mmap=True, weights_only=True)
                named = {
                    name.removeprefix("model."): value.to(dtype) for name, value in held.items()
                }
                model.config.dtype = dtype
                model.config.use_cache = True
                model.save_pretrained(folder, state_dict=_untied(model, named))
        finally:
            with suppress(OSError):
                gathered.unlink()

    first_alone(write)


@contextmanager
def exporting(folder: Path) -> Generator[None]:
    """Around what writes a model to `folder`: what fails there raises ExportFailed."""
    try:
        yield
    # A full disk is another error for each library that writes.
    except (OSError, RuntimeError, SafetensorError) as cause:
        line = " ".join(str(cause).split())
        raise ExportFailed(
            f"the model could not be written to {folder} ({line}); its checkpoints are whole: make "
            f"room, and start again to write it"
        ) from cause


def _untied(model: PreTrainedModel, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the names of tied weights, which a loader knows from the configuration."""
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    return {name: value for name, value in weights.items() if name not in tied}


def parameters(model: nn.Module) -> int:
    """How many parameters a model has, wherever ZeRO holds them."""
    return sum(int(getattr(p, "ds_numel", p.numel())) for p in model.parameters())
