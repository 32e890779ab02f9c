"""Export: the trained weights, gathered from all processes, as a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from train.errors import ExportFailed
from train.loop.distributed import DeepSpeedModel, on_rank_zero
from train.loop.older_names import add_older_names

_GATHERED = "gathered.bin"


def export(
    wrapped: DeepSpeedModel, model: PreTrainedModel, folder: Path, dtype: torch.dtype
) -> None:
    """Gathers the weights from all processes and writes them, with the configuration, as safetensors.

    Raises:
        ExportFailed: the model cannot be written.
    """
    failed: Exception | None = None
    try:
        wrapped.save_16bit_model(str(folder), _GATHERED)
    except (OSError, RuntimeError) as error:
        # Only the first process writes, so only it fails here. The error is raised in `write`, from
        # which all processes receive it.
        failed = error

    def write() -> None:
        gathered = folder / _GATHERED
        try:
            with exporting(folder):
                if failed is not None:
                    raise failed
                saved = torch.load(gathered, map_location="cpu", mmap=True, weights_only=True)
                named = {
                    name.removeprefix("model."): value.to(dtype) for name, value in saved.items()
                }
                model.config.dtype = dtype
                model.config.use_cache = True
                save(model, folder, state_dict=_without_tied(model, named))
        finally:
            with suppress(OSError):
                gathered.unlink()

    on_rank_zero(write)


def save(model: PreTrainedModel, folder: Path, **options: Any) -> None:
    """Writes a model so that transformers 4 and 5 read it alike. `options` are `save_pretrained`'s."""
    model.save_pretrained(folder, **options)
    add_older_names(folder, model.config.attribute_map)


@contextmanager
def exporting(folder: Path) -> Generator[None]:
    """Turns the errors of writing a model to `folder` into ExportFailed."""
    try:
        yield
    # A full disk raises a different error in each library that writes.
    except (OSError, RuntimeError, SafetensorError) as cause:
        line = " ".join(str(cause).split())
        raise ExportFailed(
            f"the model cannot be written to {folder} ({line}); its checkpoints are intact: free some "
            f"space and start again to write it"
        ) from cause


def _without_tied(
    model: PreTrainedModel, weights: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Removes the names of tied weights, which a loader knows from the configuration."""
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    return {name: value for name, value in weights.items() if name not in tied}
