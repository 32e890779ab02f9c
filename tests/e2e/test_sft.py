"""Fine-tuning from a configuration: layouts, resuming, processes, export, bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

pytest.importorskip("deepspeed")

import deepspeed
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import modeling_utils

from benchmarks.sglang_server import free_port
from sprint_agent.engine import Finish, Request, Sampling
from sprint_agent.engines.local.engine import LocalEngine
from tests.e2e.fine_tuning import CONFIG, DEPRECATED, prepare, wanted
from tests.unit.train.test_compatibility import tiny
from train import finetune
from train.config import RUN_RECORD
from train.countdown.model import ModelShape
from train.errors import CheckpointFailed, ExportFailed, TrainingError
from train.loop import distributed, loop
from train.loop.schedule import Update

pytestmark = [pytest.mark.slow, *DEPRECATED]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("sft"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def validation_losses(folder: Path) -> list[float]:
    return [line["validation_loss"] for line in log(folder) if "validation_loss" in line]


@pytest.mark.anyio
@pytest.mark.parametrize("layout", ["branched", "linear", "expanded"])
async def test_every_layout_learns_and_ends_in_a_folder_that_the_engine_loads(
    folder: Path, tmp_path: Path, layout: str
) -> None:
    finetune.finetune(wanted(folder, tmp_path, data__layout=layout))
    losses = validation_losses(tmp_path)
    assert losses[-1] < losses[0] - 0.3
    assert log(tmp_path)[0]["loss"].keys() == {"plan", "prompt", "execution", "answer"}
    async with LocalEngine(tmp_path) as engine:
        prompt = tuple(engine.tokenizer.encode("Use 3, 5, 7 and 11 to make 24."))
        request = Request(prompt, Sampling(max_tokens=5, temperature=0.0))
        async with engine.generate(request) as stream:
            events = [event async for event in stream]
    assert isinstance(events[-1], Finish)


class Stopped(Exception):
    pass


def stop_at(monkeypatch: pytest.MonkeyPatch, updates: int) -> Callable[[], None]:
    original = loop._step

    def step(wrapped: Any, update: Update) -> tuple[torch.Tensor, float | None]:
        if wrapped.global_steps == updates:
            raise Stopped
        return original(wrapped, update)

    monkeypatch.setattr(loop, "_step", step)
    return lambda: monkeypatch.setattr(loop, "_step", original)


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_training_that_was_stopped_has_the_same_losses_and_ends_in_the_same_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: int
) -> None:
    extra = f"[deepspeed]\nbf16 = {{enabled = true}}\nzero_optimization = {{stage = {stage}}}\n"
    extra = extra if stage else "[deepspeed]\ntorch_autocast = {enabled = true, dtype = 'bfloat16'}"
    finetune.finetune(wanted(folder, tmp_path / "whole", extra))
    resume = stop_at(monkeypatch, 8)
    with pytest.raises(Stopped):
        finetune.finetune(wanted(folder, tmp_path / "stopped", extra))
    assert not (tmp_path / "stopped" / "model.safetensors").exists()
    with (tmp_path / "stopped" / "log.jsonl").open("a") as broken:
        broken.write('{"update": 9, "lo')
    resume()
    finetune.finetune(wanted(folder, tmp_path / "stopped", extra))
    whole, stopped = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    # The log contains updates that were done again once.
    lines = [[line.get("loss") for line in log(tmp_path / name)] for name in ("whole", "stopped")]
    assert lines[0] == lines[1]


def command(*words: object, processes: int = 1) -> list[str]:
    alone = [sys.executable, "-m", "train"]
    launcher = [str(Path(sys.executable).with_name("deepspeed")), "--master_port", str(free_port())]
    together = [*launcher, "--num_gpus", str(processes), "--module", "train"]
    return [*(alone if processes == 1 else together), "sft", *map(str, words)]


def run(words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    # One thread each, because two processes that use all cores slow each other down.
    env = {**distributed.environment(), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(words, capture_output=True, text=True, timeout=120, env=env, check=False)


def test_two_processes_train_under_zero_3_as_one_does(folder: Path, tmp_path: Path) -> None:
    extra = "[deepspeed]\nzero_optimization = {stage = 3}\n"
    config = "tokens = 60_000"
    for name, processes in (("one", 1), ("two", 2)):
        wanted(folder, tmp_path / name, extra)
        path = tmp_path / name / "config.toml"
        path.write_text(path.read_text().replace(config, "updates = 4"))
        done = run(command("--config", path, processes=processes))
        assert done.returncode == 0, done.stderr
    one, two = log(tmp_path / "one"), log(tmp_path / "two")
    assert [line["update"] for line in one] == [line["update"] for line in two]
    for a, b in zip(one, two, strict=True):
        if "loss" in a:
            assert a["tokens"] == b["tokens"]
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        else:
            assert a["validation_loss"] == pytest.approx(b["validation_loss"], rel=1e-4)
    alone, together = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert alone.keys() == together.keys()
    for name in alone:
        assert torch.allclose(alone[name], together[name], atol=1e-3)


@pytest.mark.parametrize("stage", [0, 3])
def test_another_number_of_processes_is_refused_in_one_line(
    folder: Path, tmp_path: Path, stage: int
) -> None:
    """A folder of an older version does not say how many there were, so DeepSpeed refuses it."""
    extra = f"[deepspeed]\nzero_optimization = {{stage = {stage}}}\n"
    wanted(folder, tmp_path, extra)
    path = tmp_path / "config.toml"
    path.write_text(path.read_text().replace("tokens = 60_000", "updates = 4"))
    done = run(command("--config", path, processes=2))
    assert done.returncode == 0, done.stderr
    again = run(command("--config", path))
    assert again.returncode == 2
    assert (
        f"error: the training in {tmp_path} was started with a different number of" in again.stderr
    )
    record = json.loads((tmp_path / RUN_RECORD).read_text())
    del record["number of processes"]
    (tmp_path / RUN_RECORD).write_text(json.dumps(record))
    older = run(command("--config", path))
    assert "Traceback" not in older.stderr
    assert (
        (older.returncode == 0) if stage == 0 else "the last checkpoint cannot be" in older.stderr
    )


def test_gradient_checkpointing_lowers_the_peak_of_memory(tmp_path: Path) -> None:
    """The model is large enough that its activations outweigh everything else."""
    shape = ModelShape(hidden=128, layers=12, heads=8, key_value_heads=4, feed_forward=512)
    made = prepare(tmp_path, shape)
    peaks: dict[bool, int] = {}
    losses: dict[bool, list[Any]] = {}
    for switch in (False, True):
        out = tmp_path / str(switch)
        wanted(made, out)
        path = out / "config.toml"
        text = path.read_text().replace("tokens = 60_000", "updates = 2")
        path.write_text(f"gradient_checkpointing = {str(switch).lower()}\n{text}")
        done = run(command("--config", path))
        assert done.returncode == 0, done.stderr
        lines = [line for line in log(out) if "loss" in line]
        peaks[switch] = max(line["memory_bytes"] for line in lines)
        losses[switch] = [line["loss"] for line in lines]
    assert peaks[True] < 0.75 * peaks[False]
    assert losses[True] == losses[False]


def test_the_sequential_baseline_gets_the_same_budget(folder: Path, tmp_path: Path) -> None:
    finetune.finetune(wanted(folder, tmp_path / "sprint"))
    done = json.loads((tmp_path / "sprint" / finetune.RECORD).read_text())
    kinds: tuple[Literal["tokens", "updates"], ...] = ("tokens", "updates")
    for equal in kinds:
        changes = finetune.budget_of(tmp_path / "sprint", equal)
        budget = wanted(folder, tmp_path / equal, **changes).budget
        assert getattr(budget, equal) == done[equal]
        assert budget.epochs is None
    with pytest.raises(TrainingError, match="no finished training"):
        finetune.budget_of(tmp_path, "tokens")


def test_a_different_training_is_refused_in_a_folder_that_was_started(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resume = stop_at(monkeypatch, 4)
    with pytest.raises(Stopped):
        finetune.finetune(wanted(folder, tmp_path))
    resume()
    changes: list[tuple[str, dict[str, Any]]] = [
        ("data.layout", {"data__layout": "linear"}),
        ("budget.tokens, budget.updates", {"budget__tokens": None, "budget__updates": 5}),
        ("model", {"model": f"{folder}/other"}),
        ("deepspeed.zero_optimization.stage", {"deepspeed": {"zero_optimization": {"stage": 2}}}),
    ]
    for named, change in changes:
        with pytest.raises(
            TrainingError, match=f"started with a different {named}: give another --out"
        ):
            finetune.finetune(wanted(folder, tmp_path, **change))
    # Settings that do not decide the result may change.
    finetune.finetune(wanted(folder, tmp_path, gradient_checkpointing=True))
    assert (tmp_path / finetune.RECORD).exists()


@pytest.mark.parametrize("stage", [0, 3])
@pytest.mark.parametrize(
    ("family", "more", "why"),
    [
        ("granite", {"logits_scaling": 8.0}, "scales or caps the output of its lm_head"),
        ("mistral", {"sliding_window": 100}, "its sliding_window is 100"),
        ("gpt2", {}, "it has no model"),
    ],
)
def test_a_model_that_would_learn_another_loss_is_refused(
    folder: Path, tmp_path: Path, stage: int, family: str, more: dict[str, Any], why: str
) -> None:
    start = tmp_path / "start"
    shutil.copytree(folder / "start", start)
    tiny(family, vocab_size=600, max_position_embeddings=4096, **more).save_pretrained(start)
    extra = f"[deepspeed]\nzero_optimization = {{stage = {stage}}}\n"
    with pytest.raises(TrainingError, match=f"cannot be fine-tuned here: .*{why}"):
        finetune.finetune(wanted(folder, tmp_path / "out", extra, model=str(start)))
    assert not (tmp_path / "out" / "checkpoints").exists()
    # The refused training left nothing that prevents another one.
    finetune.finetune(wanted(folder, tmp_path / "out", budget__tokens=9000))


def test_a_run_record_must_be_readable(folder: Path, tmp_path: Path) -> None:
    finetune.finetune(wanted(folder, tmp_path, budget__tokens=9000))
    (tmp_path / RUN_RECORD).write_text("{")
    with pytest.raises(TrainingError, match=r"request\.json cannot be read .* give another --out"):
        finetune.finetune(wanted(folder, tmp_path))


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_the_best_checkpoint_is_exported(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: int
) -> None:
    """From the second measurement on, the loss is worse, so the first checkpoint is exported."""
    original = loop.evaluate
    kept: list[dict[str, torch.Tensor]] = []

    def evaluate(wrapped: Any, held_out: Any, kinds: int) -> Any:
        measured = original(wrapped, held_out, kinds)
        named = dict(wrapped.module.model.named_parameters())
        with deepspeed.zero.GatheredParameters(list(named.values())):
            kept.append({name: value.detach().clone() for name, value in named.items()})
        return measured if len(kept) == 1 else type(measured)(9.9, 0.0, 0.0, {})

    monkeypatch.setattr(loop, "evaluate", evaluate)
    extra = f"[deepspeed]\nzero_optimization = {{stage = {stage}}}\n"
    finetune.finetune(wanted(folder, tmp_path, extra))
    assert len(kept) > 2
    out = weights(tmp_path)
    assert all(torch.equal(out[name], kept[0][name]) for name in out)
    assert not all(torch.equal(out[name], kept[-1][name]) for name in out)
    assert json.loads((tmp_path / finetune.RECORD).read_text())["best"] == "update-3"
    folders = {path.name for path in (tmp_path / "checkpoints").glob("update-*")}
    assert folders == {"update-3", f"update-{len(log(tmp_path)) - len(kept)}"}
    # Run again, it has nothing left to train, and exports the same weights.
    finetune.finetune(wanted(folder, tmp_path, extra))
    again = weights(tmp_path)
    assert all(torch.equal(again[name], out[name]) for name in out)


def test_a_full_disk_leaves_the_last_checkpoint_intact(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = torch.save
    writes: list[int] = []

    def save(*args: Any, **kwargs: Any) -> None:
        writes.append(1)
        if len(writes) > 2:
            raise OSError(28, "No space left on device")
        original(*args, **kwargs)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(CheckpointFailed, match="the previous one is intact"):
        finetune.finetune(wanted(folder, tmp_path))
    monkeypatch.setattr(torch, "save", original)
    latest = (tmp_path / "checkpoints" / "latest").read_text()
    finetune.finetune(wanted(folder, tmp_path))
    updates = [line["update"] for line in log(tmp_path) if "loss" in line]
    assert updates == list(range(1, len(updates) + 1))
    assert len(updates) > int(latest.removeprefix("update-"))


@pytest.mark.parametrize("written", ["gathered.bin", "model.safetensors"])
def test_a_full_disk_at_the_export_ends_in_one_line_and_leaves_the_checkpoints_intact(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    utils: Any = modeling_utils
    save, save_file = torch.save, utils.safe_save_file

    def full(_: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        if str(path).endswith(written):
            failed = RuntimeError if written == "gathered.bin" else SafetensorError
            raise failed("file write failed")
        (save_file if "metadata" in kwargs else save)(_, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", full)
    monkeypatch.setattr(modeling_utils, "safe_save_file", full)
    with pytest.raises(
        ExportFailed, match=r"\(file write failed\); its checkpoints are intact: free"
    ):
        finetune.finetune(wanted(folder, tmp_path))
    assert not (tmp_path / "gathered.bin").exists()
    monkeypatch.undo()
    done = len(log(tmp_path))
    finetune.finetune(wanted(folder, tmp_path))
    assert weights(tmp_path)
    assert len(log(tmp_path)) == done


def test_an_export_that_fails_with_two_processes_ends_in_one_line(
    folder: Path, tmp_path: Path
) -> None:
    """The path of the gathered weights is a folder, so they cannot be written."""
    wanted(folder, tmp_path)
    path = tmp_path / "config.toml"
    path.write_text(path.read_text().replace("tokens = 60_000", "updates = 1"))
    (tmp_path / "gathered.bin").mkdir()
    done = run(command("--config", path, processes=2))
    assert done.returncode != 0
    # The launcher ends the second process as soon as the first one has ended.
    assert "error: the model cannot be written to" in done.stderr
    assert "train/loop/" not in done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("every = 3", 'every = 3\ndevice = "gpu"'), "this configuration is for a GPU"),
        (("every = 3", "every = 3\nlearning_rate = 1"), "learning_rate"),
        (("tokens = 60_000", "tokens = 60_000\nepochs = 1"), "one of epochs, tokens and updates"),
        (("every = 3", "every = ["), "cannot be read as a configuration"),
        (("/start", "/nowhere/at/all"), "no model can be loaded"),
        (("train.jsonl", "missing.jsonl"), "missing.jsonl"),
        (("row_tokens = 3000", "row_tokens = 30"), "no sample to train on"),
    ],
)
def test_bad_input_ends_in_one_line(
    folder: Path, tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    if "GPU" in message and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(folder=folder, out=tmp_path).replace(*change))
    done = run(command("--config", path), HF_HUB_OFFLINE="1")
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stderr


def test_a_row_that_does_not_fit_into_memory_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("train.model.loss.WeightedLM.forward", full)
    with pytest.raises(TrainingError, match="does not fit into memory: turn on"):
        finetune.finetune(wanted(folder, tmp_path))
