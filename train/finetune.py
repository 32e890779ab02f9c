"""A fine-tuning, from its settings to a Hugging Face folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.integrations.deepspeed import HfDeepSpeedConfig
from transformers.utils import logging

from sprint_agent.extras import install_hint
from sprint_agent.tokenizer import FileTokenizer
from train import config
from train.config import Settings
from train.data.load import LoadedTrees, check_tokenizer, load_trees
from train.errors import TrainingError, one_line
from train.loop import distributed, schedule
from train.loop.checkpoints import TrainingState
from train.loop.export import export
from train.loop.loop import Plan, TrainingObserver, train
from train.loop.progress import Screen, Speed
from train.loop.schedule import KINDS, Rows
from train.model import compatibility
from train.model.flops import FlopModel, peak
from train.model.loss import chunks
from train.model.recomputation import enable_recomputation

RECORD = "training.json"
"""The file beside the model that says what a finished training did."""
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
"""What is copied from the folder that a training starts from."""


def finetune(settings: Settings) -> None:
    """Trains as `settings` say and writes the model to `settings.out`.

    If the training was stopped before, it resumes from its last checkpoint.

    Raises:
        TrainingError: the training cannot start or continue.
    """
    if settings.device == "gpu" and not torch.cuda.is_available():
        raise TrainingError(
            "this configuration is for a GPU, but torch finds none: install a CUDA build of torch, or "
            'set device = "any" and a model that a CPU can train'
        )
    record = config.run_record(settings, distributed.launched())
    latest = settings.out / "checkpoints" / "latest"
    if latest.exists():
        config.check_run_record(settings.out, record)
    logging.disable_progress_bar()
    distributed.start()
    deepspeed_config = config.deepspeed_config(settings, distributed.world())
    start = _load(settings, deepspeed_config)
    training, validation = _read(settings, start)
    trees = training.trees + (validation.trees if validation else [])
    compatibility.check_context(start.model, max(tree.longest for tree in trees))
    compatibility.check_vocabulary(start.model, (row for tree in trees for row in tree.own))
    total = schedule.length(settings.budget, sum(map(len, training.trees)))
    weights = schedule.kind_weights(settings.weights)
    updates = schedule.updates(
        _rows(settings, training), settings.budget, settings.rates, weights, settings.seed
    )
    held_out = _rows(settings, validation) if validation else None
    measured = held_out.for_this_rank(held_out.epoch(settings.seed)) if held_out else []
    parts = chunks(settings.data.row_tokens)
    plan = Plan(deepspeed_config, latest.parent, settings.every, KINDS, parts, best=True)
    distributed.on_rank_zero(
        lambda: latest.exists() or config.write_run_record(settings.out, record)
    )
    with _observer(settings, start.model, total) as observer:
        wrapped, state = train(start.model, updates, measured, plan, observer)
    export(wrapped, start.model, settings.out, start.dtype)
    distributed.on_rank_zero(lambda: _finish(settings, start.folder, state))


def budget_of(folder: Path, equal: Literal["tokens", "updates"]) -> dict[str, Any]:
    """Returns the changes to a configuration that give it the budget of the training in `folder`.

    Raises:
        TrainingError: `folder` contains no finished training.
    """
    try:
        spent = json.loads((folder / RECORD).read_text(encoding="utf-8"))[equal]
    except (OSError, ValueError, KeyError) as cause:
        raise TrainingError(f"{folder} contains no finished training: {cause}") from cause
    others = {f"budget.{name}": None for name in ("epochs", "tokens", "updates") if name != equal}
    return {f"budget.{equal}": spent, **others}


@dataclass(frozen=True, slots=True)
class _Start:
    """What a training starts from. `folder` contains the tokenizer's files."""

    model: PreTrainedModel
    tokenizer: FileTokenizer
    folder: Path
    dtype: torch.dtype


def _load(settings: Settings, deepspeed_config: dict[str, Any]) -> _Start:
    """Loads the model and its tokenizer, and checks that they can be trained.

    Raises:
        TrainingError: they cannot be loaded or trained.
    """
    try:
        start = _read_folder(settings, deepspeed_config)
        compatibility.check_structure(start.model)
    except TrainingError:
        raise
    # Files of unknown origin make the libraries raise errors of any type.
    except Exception as cause:
        raise TrainingError(
            f"no model can be loaded from {settings.model} ({one_line(cause)}): give a folder or a name "
            f"whose files are complete and whose architecture transformers knows"
        ) from cause
    check_tokenizer(start.tokenizer, settings.data.train)
    # Training generates nothing. `export` turns the cache on again for later use.
    start.model.config.use_cache = False
    if settings.fused_kernels:
        _fuse(start.model)
    if settings.gradient_checkpointing:
        enable_recomputation(start.model)
    return start


def _read_folder(settings: Settings, deepspeed_config: dict[str, Any]) -> _Start:
    bf16 = deepspeed_config.get("bf16", {}).get("enabled")
    dtype = torch.bfloat16 if bf16 else torch.float32
    folder = Path(settings.model)
    if not folder.exists():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(settings.model))
    tokenizer = FileTokenizer.load(folder)
    # While this object exists, transformers loads a model directly into ZeRO's partitions.
    partitioned = HfDeepSpeedConfig(deepspeed_config)
    try:
        # Its annotations do not know that it returns two values when it is asked for this.
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, output_loading_info=True, trust_remote_code=False
        )
        model, info = loaded
    finally:
        del partitioned
    missing = sorted(info["missing_keys"])
    if missing:
        # transformers would give them random values, with a warning at most.
        raise TrainingError(
            f"no model can be loaded from {settings.model}: it has no weights for {missing[0]} and "
            f"{len(missing) - 1} others, or its config.json is that of another model"
        )
    return _Start(model, tokenizer, folder, dtype)


def _fuse(model: PreTrainedModel) -> None:
    """Replaces norms, rotary embeddings and gates by Liger's kernels. The loss stays ours."""
    try:
        from liger_kernel.transformers import (  # pyright: ignore[reportMissingImports]
            _apply_liger_kernel_to_instance,
        )
    except ImportError as cause:
        raise TrainingError(
            "fused_kernels needs Liger's kernels, on a machine with CUDA: " + install_hint("liger")
        ) from cause
    _apply_liger_kernel_to_instance(
        model=model, cross_entropy=False, fused_linear_cross_entropy=False
    )


def _read(settings: Settings, start: _Start) -> tuple[LoadedTrees, LoadedTrees | None]:
    """Reads the training samples and, if there are any, the validation samples."""
    data, context = settings.data, int(start.model.config.max_position_embeddings)
    training = load_trees(data.train, data, start.tokenizer, context)
    validation = None
    if data.validation:
        validation = load_trees(data.validation, data, start.tokenizer, context)
    if distributed.rank() == 0:
        lines = [f"train: {training}", *([f"validation: {validation}"] if validation else [])]
        bos = start.tokenizer.bos_ids
        if bos:
            lines.append(
                f"each context begins with {start.tokenizer.decode(bos)!r}, as the model expects"
            )
        print("\n".join(lines), flush=True)
    return training, validation


def _rows(settings: Settings, loaded: LoadedTrees) -> Rows:
    # On a GPU, all rows have the same length, so that kernels are compiled for it once.
    padded = torch.cuda.is_available()
    length = settings.data.row_tokens
    return Rows(loaded.trees, length, distributed.rank(), distributed.world(), padded)


@contextmanager
def _observer(
    settings: Settings, model: PreTrainedModel, total: float
) -> Generator[TrainingObserver]:
    """Yields the observer of a training: in the first process, a screen and a log."""
    if distributed.rank() != 0:
        yield TrainingObserver()
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    speed = Speed(FlopModel.of(model), peak(device))
    in_updates = bool(settings.budget.updates)
    with (settings.out / "log.jsonl").open("a+", encoding="utf-8") as log:
        screen = Screen(log, speed, device, total, in_updates=in_updates)
        with screen.live or nullcontext():
            yield screen


def _finish(settings: Settings, folder: Path, state: TrainingState) -> None:
    """Copies the tokenizer beside the model, and writes the record of the finished training."""
    for name in _TOKENIZER_FILES:
        if (folder / name).exists():
            shutil.copyfile(folder / name, settings.out / name)
    record = {
        "tokens": state.tokens,
        "updates": state.updates,
        "best": state.best or None,
        "settings": config.as_json(settings),
    }
    (settings.out / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
