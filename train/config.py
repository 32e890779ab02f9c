"""The settings of a fine-tuning, from a TOML file, and the record of what a folder started with.

`configs/` contains example files that are in use.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from train.errors import TrainingError

Layout = Literal["branched", "linear", "expanded"]
"""How a run becomes trees; see `train.data.trees`."""
RUN_RECORD = "request.json"
"""The file in a training's folder that says what the training was started with."""

_Positive = Annotated[int, msgspec.Meta(gt=0)]
_Weight = Annotated[float, msgspec.Meta(ge=0)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Data(_Section, frozen=True):
    """The samples, as `python -m curate` writes them, and how they become rows."""

    train: tuple[Path, ...]
    validation: tuple[Path, ...] = ()
    layout: Layout = "branched"
    row_tokens: _Positive = 8192
    """The length of a row, in ids."""
    longer: Literal["drop", "cut"] = "drop"
    """What happens to a sample that is longer than a row or than the model's context: it is
    dropped, or cut after the last stage with which it is short enough. Both are reported."""


class Weights(_Section, frozen=True):
    """The loss weight of an id, by role."""

    plan: _Weight = 1.0
    prompt: _Weight = 1.0
    execution: _Weight = 1.0
    answer: _Weight = 1.0


class Budget(_Section, frozen=True):
    """The length of a training: exactly one of `epochs`, `tokens` and `updates` is set."""

    epochs: Annotated[float, msgspec.Meta(gt=0)] | None = None
    tokens: _Positive | None = None
    updates: _Positive | None = None
    rows_per_update: _Positive = 16
    """Rows in an update, over all processes together."""


class Rates(_Section, frozen=True):
    """The learning rate over the budget."""

    peak: Annotated[float, msgspec.Meta(gt=0)] = 1e-5
    warmup: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.05
    """The share of the budget in which the rate rises to its peak."""
    decay: Literal["linear", "constant"] = "linear"
    """How the rate falls after the warmup: linearly to 0, or not at all."""


class Settings(_Section, frozen=True):
    """The settings of a fine-tuning."""

    model: str
    """A Hugging Face folder or name."""
    out: Path
    """The output folder, which also gets the trained model."""
    data: Data
    budget: Budget
    weights: Weights = Weights()
    rates: Rates = Rates()
    device: Literal["any", "gpu"] = "any"
    """The device that the configuration is made for. Training does not start on a machine without it."""
    every: _Positive = 100
    """Updates between two measurements of the validation samples. Each saves a checkpoint."""
    gradient_checkpointing: bool = False
    fused_kernels: bool = False
    seed: int = 0
    deepspeed: dict[str, Any] = {}
    """Passed to DeepSpeed unchanged. Options that are computed from the other settings are refused."""


_COMPUTED = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "scheduler",
)
"""DeepSpeed's options that are computed from the other settings."""


def read_settings(path: Path, changes: Mapping[str, Any]) -> Settings:
    """Reads a configuration.

    Parameters
    ----------
    path
        The TOML file. Paths in it are relative to the working directory.
    changes
        Values by dotted name, which replace those of the file. None removes an entry.

    Raises:
        TrainingError: the file cannot be read, or is not a valid configuration.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
        for name, value in changes.items():
            _change(entries, name, value)
        settings = msgspec.convert(entries, Settings, dec_hook=_path)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as cause:
        raise TrainingError(f"{path} cannot be read as a configuration: {cause}") from cause
    _check(path, settings)
    return settings


def _change(entries: dict[str, Any], name: str, value: object) -> None:
    *sections, last = name.split(".")
    section = entries
    for part in sections:
        section = section.setdefault(part, {})
    if value is None:
        section.pop(last, None)
    else:
        section[last] = value


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise msgspec.ValidationError(f"Expected `{kind.__name__}`, got {value!r}")


def _check(path: Path, settings: Settings) -> None:
    budget = settings.budget
    given = [name for name in ("epochs", "tokens", "updates") if getattr(budget, name) is not None]
    if len(given) != 1:
        raise TrainingError(
            f"{path}: [budget] needs exactly one of epochs, tokens and updates, "
            f"but contains {' and '.join(given) or 'none of them'}"
        )
    for name in _COMPUTED:
        if name in settings.deepspeed:
            raise TrainingError(
                f"{path}: [deepspeed] {name} is computed from [budget] and [rates]: remove it"
            )


def as_json(settings: Settings) -> dict[str, Any]:
    """Returns the settings as JSON types."""
    return msgspec.to_builtins(settings, enc_hook=str)


def deepspeed_config(settings: Settings, processes: int) -> dict[str, Any]:
    """Returns DeepSpeed's configuration for a fine-tuning.

    Raises:
        TrainingError: the rows of an update cannot be divided evenly among the processes.
    """
    rows = settings.budget.rows_per_update
    if rows % processes:
        raise TrainingError(
            f"[budget] rows_per_update: {rows} rows cannot be divided evenly among {processes} "
            f"processes: set a multiple of {processes}"
        )
    adamw = {
        "type": "AdamW",
        # Torch's own AdamW, fused if possible, needs no compiler on the machine.
        "params": {"betas": [0.9, 0.95], "weight_decay": 0.0, "torch_adam": True},
    }
    given = dict(settings.deepspeed)
    optimizer = {**adamw, **given.pop("optimizer", {})}
    optimizer["params"] = {"lr": settings.rates.peak, **optimizer["params"]}
    zero = {"stage": 0, **given.pop("zero_optimization", {})}
    if zero["stage"] == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return deepspeed_base(rows // processes, optimizer, **{"zero_optimization": zero, **given})


def deepspeed_base(rows: int, optimizer: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Returns DeepSpeed's configuration for updates of `rows` rows in each process, one at a time."""
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": rows,
        "gradient_clipping": 1.0,
        "steps_per_print": 10**9,
        "optimizer": optimizer,
        **more,
    }


_PROCESSES = "number of processes"
_CONTENT = "content of "
_MODEL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")
"""Files of a model that decide what a training reads. Its weights are in the checkpoints."""


def run_record(settings: Settings, processes: int) -> dict[str, Any]:
    """Returns what decides the result of a training: settings, processes, and the content of files.

    The other settings may change when a training resumes.

    Raises:
        TrainingError: a file cannot be read.
    """
    others = ("out", "device", "gradient_checkpointing", "fused_kernels")
    record = {name: value for name, value in as_json(settings).items() if name not in others}
    record[_PROCESSES] = processes
    model = (Path(settings.model) / name for name in _MODEL_FILES)
    for path in (*settings.data.train, *settings.data.validation, *filter(Path.is_file, model)):
        record[f"{_CONTENT}{path}"] = _digest(path)
    return record


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as cause:
        raise TrainingError(f"{path} cannot be read ({cause}); nothing was trained") from cause


def check_run_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Checks that the training in `folder` was started with `record`.

    A folder without a run record is accepted: it was started before such records were written. So is
    a record without processes and files.

    Raises:
        TrainingError: the training was started with other values, or its record cannot be read.
    """
    path = folder / RUN_RECORD
    if not path.exists():
        return
    try:
        started = _flatten(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as cause:
        raise TrainingError(
            f"{path} cannot be read ({cause}): give another --out, or remove {folder}"
        ) from cause
    now = _flatten(json.loads(json.dumps(record)))
    # The content of a file that only one of them names is not compared: its name differs already.
    one_sided = started.keys() ^ now.keys()
    skipped = {n for n in one_sided if n.startswith(_CONTENT)} | ({_PROCESSES} - started.keys())
    names = (started.keys() | now.keys()) - skipped
    changed = sorted(name for name in names if started.get(name) != now.get(name))
    if changed:
        raise TrainingError(
            f"the training in {folder} was started with a different {', '.join(changed)}: "
            f"give another --out, or remove the folder"
        )


def write_run_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Writes what the training in `folder` is started with. The file appears only when complete."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{RUN_RECORD}.partial"
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / RUN_RECORD)


def _flatten(value: Any, name: str = "") -> dict[str, Any]:
    """Returns the values of nested objects by dotted name."""
    if not isinstance(value, dict):
        return {name: value}
    inner = (_flatten(each, f"{name}.{key}" if name else key) for key, each in value.items())
    return {key: each for part in inner for key, each in part.items()}
