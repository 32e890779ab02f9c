"""DeepSpeed's processes: their group, and what all processes do together."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import deepspeed
import torch
from deepspeed import comm
from torch import nn

from train.errors import TrainingError, one_line

_GROUP = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""The environment variables that say which process group a process belongs to."""


class DeepSpeedModel(Protocol):
    """A model that DeepSpeed has wrapped: the part of its interface that is used here."""

    device: torch.device
    module: Any
    optimizer: Any
    global_steps: int

    def __call__(self, *inputs: Any) -> Any:
        """Runs the forward pass."""
        ...

    def backward(self, loss: torch.Tensor) -> object:
        """Runs the backward pass."""
        ...

    def step(self) -> object:
        """Steps the optimizer, after as many backward passes as an update has rows."""
        ...

    def get_global_grad_norm(self) -> Any:
        """Returns the norm of the last gradient over all processes, or None if it is not kept."""
        ...

    def zero_optimization(self) -> bool:
        """Returns whether the ZeRO stage is at least 1."""
        ...

    def bfloat16_enabled(self) -> bool:
        """Returns whether the weights are bfloat16."""
        ...

    def fp16_enabled(self) -> bool:
        """Returns whether the weights are float16."""
        ...

    def save_checkpoint(self, save_dir: str, tag: str, client_state: dict[str, Any]) -> object:
        """Writes a checkpoint. All processes must call it."""
        ...

    def load_checkpoint(self, load_dir: str, tag: str | None = None) -> tuple[Any, Any]:
        """Reads a checkpoint. All processes must call it."""
        ...

    def save_16bit_model(self, save_dir: str, save_filename: str) -> object:
        """Gathers the weights in the first process and writes them. All processes must call it."""
        ...


def start() -> None:
    """Starts DeepSpeed's process group, with this process alone if no launcher has set up a group."""
    if "RANK" not in os.environ:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
        os.environ.update(alone, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    if not torch.cuda.is_available():
        # DeepSpeed would compile its shared-memory op at first use, which takes minutes. Gloo works
        # without it.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        # Muon is not faster when it is compiled here, and a machine without a C++ compiler can
        # train.
        torch.compiler.set_stance("force_eager")
    else:
        # This must be done before the first collective, which otherwise uses the first device in
        # every process.
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    deepspeed.init_distributed(dist_backend=None if torch.cuda.is_available() else "gloo")


def launched() -> int:
    """Returns how many processes a launcher has started together. May be called before `start`."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def stop() -> None:
    """Leaves the process group after all processes have called it.

    Call it before a process ends, and not between two trainings.
    """
    comm.barrier()
    comm.destroy_process_group()


def environment() -> dict[str, str]:
    """Returns the environment for a child process that sets up its own process group."""
    return {name: value for name, value in os.environ.items() if name not in _GROUP}


def wrap(model: nn.Module, config: Mapping[str, Any]) -> DeepSpeedModel:
    """Lets DeepSpeed take over a model, with an optimizer for all parameters that have gradients."""
    # DeepSpeed's annotations say that `model_parameters` is a module; it is a list of parameters.
    initialize: Any = deepspeed.initialize
    wrapped, *_ = initialize(
        model=model,
        model_parameters=[p for p in model.parameters() if p.requires_grad],
        config=dict(config),
    )
    return wrapped


def norm_before_step(wrapped: DeepSpeedModel) -> float | None:
    """Returns the norm of the gradient between the last backward pass of an update and the step.

    Returns None if DeepSpeed computes it in the step. With ZeRO 0 and float32 weights it does not
    tell it: it clips the gradient, which all processes have, and sets it to None.
    """
    if wrapped.zero_optimization() or wrapped.bfloat16_enabled() or wrapped.fp16_enabled():
        return None
    gradients = [p.grad for p in wrapped.module.parameters() if p.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients))
    # With float16 autocast, the loss and so its gradient are scaled. If a gradient is infinite, the
    # step is skipped and the next ones have a lower scale.
    scaler: Any = getattr(wrapped, "torch_autocast_z0_gradscaler", None)
    return norm if scaler is None else _unless_skipped(norm / scaler.get_scale())


def norm_after_step(wrapped: DeepSpeedModel) -> float | None:
    """Returns the norm of the gradient that the last step used, or None if it is not known."""
    norm = wrapped.get_global_grad_norm()
    if norm is None:
        return None
    return _unless_skipped(float(norm)) if wrapped.fp16_enabled() else float(norm)


def _unless_skipped(norm: float) -> float | None:
    """Returns the norm, or None if it belongs to a step that loss scaling skips."""
    return norm if math.isfinite(norm) else None


def rank() -> int:
    """Returns the number of this process among all, from 0."""
    return comm.get_rank()


def world() -> int:
    """Returns how many processes train together."""
    return comm.get_world_size()


def add_up(values: torch.Tensor) -> torch.Tensor:
    """Replaces a tensor by its sum over all processes, and returns it."""
    comm.all_reduce(values)
    return values


def on_rank_zero(work: Callable[[], object]) -> None:
    """Calls `work` in the first process while the others wait.

    Raises:
        TrainingError: `work` failed. It is raised in all processes. If `work` raised a
            TrainingError or a subclass of it, all processes raise that error.
    """
    failed: list[TrainingError | None] = [None]
    if rank() == 0:
        try:
            work()
        except TrainingError as error:
            failed[0] = error
        except Exception as cause:
            failed[0] = TrainingError(
                f"the first process failed while the others waited: {one_line(cause)}"
            )
            failed[0].__cause__ = cause
    torch.distributed.broadcast_object_list(failed)
    if failed[0] is not None:
        raise failed[0]
