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
from transformers.integrations import HfDeepSpeedConfig
from transformers.utils import logging

from sprint_agent.tokenizer import FileTokenizer
from train import config, request
from train.config import Settings
from train.data import load
from train.data.load import Read
from train.data.packing import Forest
from train.errors import TrainingError
from train.loop import distributed as engines
from train.loop import schedule
from train.loop.distributed import Place
from train.loop.loop import Plan, Watcher, train
from train.loop.progress import Screen, Speed
from train.loop.schedule import KINDS, Rows
from train.model import compatibility
from train.model.flops import Costs, peak
from train.model.loss import chunks

RECORD = "training.json"
"""What a finished training says of itself, beside the model."""


def finetune(wanted: Settings) -> None:
    """Trains as `wanted` says, and writes the model to `wanted.out`; goes on where it was stopped.

    Raises TrainingError.
    """
    if wanted.device == "gpu" and not torch.cuda.is_available():
        raise TrainingError(
            "this configuration is for a GPU, and torch finds none here; install a CUDA build of torch, "
            'or set device = "any", with a model that a CPU can train'
        )
    asked, begun = config.deciding(wanted), wanted.out / "checkpoints" / "latest"
    if begun.exists():
        request.check(wanted.out, asked)
    logging.disable_progress_bar()
    engines.start()
    told = config.deepspeed_config(wanted, engines.world())
    start = _load(wanted, told)
    found, held_out = _read(wanted, start)
    trees = found.trees + (held_out.trees if held_out else [])
    compatibility.reach(start.model, max(tree.longest for tree in trees))
    total = schedule.length(wanted.budget, sum(map(len, found.trees)))
    weights = schedule.kind_weights(wanted.weights)
    stream = schedule.updates(
        _rows(wanted, found), wanted.budget, wanted.rates, weights, wanted.seed
    )
    measured = _measured(_rows(wanted, held_out), wanted) if held_out else []
    parts = chunks(wanted.data.row_tokens)
    plan = Plan(told, wanted.out / "checkpoints", wanted.every, KINDS, parts, best=True)
    engines.first_alone(lambda: begun.exists() or request.keep(wanted.out, asked))
    with _watcher(wanted, start.model, total) as watcher:
        engine, place = train(start.model, stream, measured, plan, watcher)
    engines.export(engine, start.model, wanted.out, start.dtype)
    engines.first_alone(lambda: _record(wanted, start.folder, place))


def like(folder: Path, equal: Literal["tokens", "updates"]) -> dict[str, Any]:
    """The changes to a configuration that give it the budget of a training that ended in `folder`.

    Raises TrainingError where none did.
    """
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))[equal]
    except (OSError, ValueError, KeyError) as cause:
        raise TrainingError(f"{folder} holds no finished training: {cause}") from cause
    others = {f"budget.{name}": None for name in ("epochs", "tokens", "updates") if name != equal}
    return {f"budget.{equal}": found, **others}


@dataclass(frozen=True, slots=True)
class _Start:
    model: PreTrainedModel
    tokenizer: FileTokenizer
    folder: Path
    dtype: torch.dtype


def _load(wanted: Settings, told: dict[str, Any]) -> _Start:
    dtype = torch.bfloat16 if told.get("bf16", {}).get("enabled") else torch.float32
    folder = Path(wanted.model)
    # As long as it lives, transformers loads a model right into ZeRO's parts.
    partitioned = HfDeepSpeedConfig(told)
    try:
        if not folder.exists():
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(wanted.model))
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        tokenizer = FileTokenizer.load(folder)
    except (OSError, ValueError) as cause:
        line = str(cause).strip().splitlines()[0]
        raise TrainingError(f"no model could be loaded from {wanted.model}: {line}") from cause
    finally:
        del partitioned
    compatibility.parts(model)
    load.check(tokenizer, wanted.data.train)
    # Nothing is generated; `export` turns it on again for those who do.
    model.config.use_cache = False
    if wanted.fused_kernels:
        _fuse(model)
    if wanted.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return _Start(model, tokenizer, folder, dtype)


def _fuse(model: PreTrainedModel) -> None:
    """Puts Liger's kernels in place of norms, rotations and gates; the loss is ours."""
    try:
        from liger_kernel.transformers import _apply_liger_kernel_to_instance
    except ImportError as cause:
        raise TrainingError(
            "fused_kernels needs Liger's kernels: install sprint-agent[liger], on a machine with CUDA"
        ) from cause
    _apply_liger_kernel_to_instance(
        model=model, cross_entropy=False, fused_linear_cross_entropy=False
    )


def _read(wanted: Settings, start: _Start) -> tuple[Read, Read | None]:
    data, context = wanted.data, int(start.model.config.max_position_embeddings)
    found = load.read(data.train, data, start.tokenizer, context)
    held_out = None
    if data.validation:
        held_out = load.read(data.validation, data, start.tokenizer, context)
    if engines.rank() == 0:
        lines = [f"train: {found}", *([f"validation: {held_out}"] if held_out else [])]
        print("\n".join(lines), flush=True)
    return found, held_out


def _rows(wanted: Settings, found: Read) -> Rows:
    # On a GPU, rows of one length: kernels are compiled for it once.
    padded = torch.cuda.is_available()
    return Rows(found.trees, wanted.data.row_tokens, engines.rank(), engines.world(), padded)


def _measured(rows: Rows, wanted: Settings) -> list[Forest]:
    return rows.mine(rows.epoch(wanted.seed))


@contextmanager
def _watcher(wanted: Settings, model: PreTrainedModel, total: float) -> Generator[Watcher]:
    """Who is told how it goes: in the first process, a screen and a log."""
    if engines.rank() != 0:
        yield Watcher()
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    speed = Speed(Costs.of(model), peak(device))
    in_updates = bool(wanted.budget.updates)
    with (wanted.out / "log.jsonl").open("a+", encoding="utf-8") as log:
        screen = Screen(log, speed, device, total, in_updates=in_updates)
        with screen.live or nullcontext():
            yield screen


def _record(wanted: Settings, folder: Path, place: Place) -> None:
    """Puts beside the model its tokenizer, and what it was trained on and how long."""
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (folder / name).exists():
            shutil.copyfile(folder / name, wanted.out / name)
    said = {
        "tokens": place.tokens,
        "updates": place.updates,
        "best": place.best or None,
        "settings": config.as_json(wanted),
    }
    (wanted.out / RECORD).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
