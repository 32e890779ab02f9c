"""What a fine-tuning is told, read from a TOML file; `configs/` holds examples that are used."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from train.data.trees import Layout
from train.errors import TrainingError
from train.loop import distributed

_Positive = Annotated[int, msgspec.Meta(gt=0)]
_Weight = Annotated[float, msgspec.Meta(ge=0)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Data(_Section):
    """Samples, as `python -m curate` writes them, and how they become rows.

    `row_tokens` is the length of a row, in ids; what does not fit into one is dropped, or cut off behind
    the last stage that fits, as `longer` says, and reported either way.
    """

    train: tuple[Path, ...]
    validation: tuple[Path, ...] = ()
    layout: Layout = "branched"
    row_tokens: _Positive = 8192
    longer: Literal["drop", "cut"] = "drop"


class Weights(_Section):
    """What an id weighs in the loss, by role."""

    plan: _Weight = 1.0
    prompt: _Weight = 1.0
    execution: _Weight = 1.0
    answer: _Weight = 1.0


class Budget(_Section):
    """How long it goes: one of `epochs`, `tokens` and `updates`; and how many rows make an update."""

    epochs: Annotated[float, msgspec.Meta(gt=0)] | None = None
    tokens: _Positive | None = None
    updates: _Positive | None = None
    rows_per_update: _Positive = 16


class Rates(_Section):
    """The learning rate: its peak, the share of the budget in which it rises, and how it falls."""

    peak: Annotated[float, msgspec.Meta(gt=0)] = 1e-5
    warmup: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.05
    decay: Literal["linear", "constant"] = "linear"


class Settings(_Section):
    """A fine-tuning.

    `model` is a Hugging Face folder or name, `out` the folder that the trained one goes to.
    `device` says what the configuration was made for: on a machine without it, training does not
    begin. Every `every` updates the validation samples are measured and a checkpoint is kept. What
    `[deepspeed]` holds goes to DeepSpeed as it is, but for what follows from the rest.
    """

    model: str
    out: Path
    data: Data
    budget: Budget
    weights: Weights = Weights()
    rates: Rates = Rates()
    device: Literal["any", "gpu"] = "any"
    every: _Positive = 100
    gradient_checkpointing: bool = False
    fused_kernels: bool = False
    seed: int = 0
    deepspeed: dict[str, Any] = {}


def as_json(settings: Settings) -> dict[str, Any]:
    """The settings as JSON's types."""
    return msgspec.to_builtins(settings, enc_hook=str)


def deciding(settings: Settings) -> dict[str, Any]:
    """The same without what may change in a training that goes on: it does not decide the result."""
    others = ("out", "device", "gradient_checkpointing", "fused_kernels")
    return {name: value for name, value in as_json(settings).items() if name not in others}


_OURS = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "scheduler",
)


def read(path: Path, changes: dict[str, Any]) -> Settings:
    """Reads a configuration; `changes` are put in place of what it says, by dotted name;
    None takes an entry out. Paths in it are relative to the working directory.

    Raises TrainingError for what is no configuration.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        for name, value in changes.items():
            *sections, last = name.split(".")
            section = found
            for part in sections:
                section = section.setdefault(part, {})
            if value is None:
                section.pop(last, None)
            else:
                section[last] = value
        settings = msgspec.convert(found, Settings, dec_hook=_path)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as cause:
        raise TrainingError(f"{path} cannot be read as a configuration: {cause}") from cause
    _check(path, settings)
    return settings


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise msgspec.ValidationError(f"Expected `{kind.__name__}`, got {value!r}")


def _check(path: Path, settings: Settings) -> None:
    budget = settings.budget
    given = [name for name in ("epochs", "tokens", "updates") if getattr(budget, name) is not None]
    if len(given) != 1:
        raise TrainingError(
            f"{path}: [budget] needs one of epochs, tokens and updates, not {given}"
        )
    for name in _OURS:
        if name in settings.deepspeed:
            raise TrainingError(
                f"{path}: [deepspeed] {name} follows from [budget] and [rates]; leave it out"
            )


def deepspeed_config(settings: Settings, processes: int) -> dict[str, Any]:
    """What DeepSpeed is told. Raises TrainingError where rows cannot be divided among processes."""
    rows = settings.budget.rows_per_update
    if rows % processes:
        raise TrainingError(
            f"[budget] rows_per_update: {rows} rows cannot be divided among {processes} processes"
        )
    adamw = {
        "type": "AdamW",
        # Torch's own, fused where it can be, needs no compiler on the machine.
        "params": {"betas": [0.9, 0.95], "weight_decay": 0.0, "torch_adam": True},
    }
    given = dict(settings.deepspeed)
    optimizer = {**adamw, **given.pop("optimizer", {})}
    optimizer["params"] = {"lr": settings.rates.peak, **optimizer["params"]}
    zero = {"stage": 0, **given.pop("zero_optimization", {})}
    if zero["stage"] == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return distributed.config(rows // processes, optimizer, **{"zero_optimization": zero, **given})
