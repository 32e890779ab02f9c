"""Fine-tuning from a configuration: layouts, resume, processes, the exported folder, bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("deepspeed")

import torch
from safetensors.torch import load_file

from curate import samples
from curate.countdown import CountdownData, rft_sample, runs, sprint_samples, trajectories
from sprint_agent.engines.base import Finish, Request, Sampling
from sprint_agent.engines.local import LocalEngine
from train import finetune, settings, sft, tokenizer
from train.model import ModelShape, build
from train.sft import Update
from train.tokenizer import END

pytestmark = pytest.mark.slow
SHAPE = ModelShape(hidden=32, layers=2, heads=2, feed_forward=48)
CONFIG = """
model = "{folder}/start"
out = "{out}"
every = 3
[data]
train = ["{folder}/train.jsonl"]
validation = ["{folder}/validation.jsonl"]
row_tokens = 3000
[budget]
tokens = 60_000
rows_per_update = 2
[rates]
peak = 3e-3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to start from, and samples of the Countdown searcher: as runs, and left sequential."""
    made = tmp_path_factory.mktemp("sft")
    data = CountdownData(trajectories=40, runs=20)
    packed = list(trajectories(data, "train"))
    written = [
        sample
        for number, run in enumerate(runs(packed, data))
        for sample in sprint_samples(run, data, len, number)
    ]
    texts = [piece.text for sample in written for piece in sample.transcript.pieces]
    words = tokenizer.train(texts, 600)
    tokenizer.save(words, made / "start", SHAPE.context_length)
    model = build(SHAPE, words.get_vocab_size(), words.token_to_id(END), seed=0)
    model.save_pretrained(made / "start")
    samples.write(written[8:], made / "train.jsonl")
    samples.write(written[:8], made / "validation.jsonl")
    samples.write(map(rft_sample, packed), made / "sequential.jsonl")
    return made


def wanted(folder: Path, out: Path, extra: str = "", **changes: Any) -> settings.Settings:
    out.mkdir(parents=True, exist_ok=True)
    path = out / "config.toml"
    path.write_text(CONFIG.format(folder=folder, out=out) + extra)
    return settings.read(path, {name.replace("__", "."): v for name, v in changes.items()})


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
    original = sft._step

    def step(engine: Any, update: Update) -> torch.Tensor:
        if engine.global_steps == updates:
            raise Stopped
        return original(engine, update)

    monkeypatch.setattr(sft, "_step", step)
    return lambda: monkeypatch.setattr(sft, "_step", original)


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_training_that_was_stopped_has_the_same_losses_and_ends_in_the_same_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: int
) -> None:
    extra = f"[deepspeed]\nbf16 = {{enabled = true}}\nzero_optimization = {{stage = {stage}}}\n"
    extra = extra if stage else "[deepspeed]\ntorch_autocast = {enabled = true, dtype = 'bfloat16'}"
    finetune.finetune(wanted(folder, tmp_path / "whole", extra))
    go_on = stop_at(monkeypatch, 8)
    with pytest.raises(Stopped):
        finetune.finetune(wanted(folder, tmp_path / "stopped", extra))
    assert not (tmp_path / "stopped" / "model.safetensors").exists()
    go_on()
    finetune.finetune(wanted(folder, tmp_path / "stopped", extra))
    whole, stopped = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    last = {line["update"]: line["loss"] for line in log(tmp_path / "stopped") if "loss" in line}
    assert last == {
        line["update"]: line["loss"] for line in log(tmp_path / "whole") if "loss" in line
    }
