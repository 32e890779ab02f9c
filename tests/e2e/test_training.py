"""Training from scratch to a folder that the engine loads, also after an interruption."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("deepspeed")

import torch

from curate.countdown import CountdownData, drills
from sprint_agent.countdown import Puzzle, split
from sprint_agent.engine import Finish, Request, Sampling
from sprint_agent.engines.local.engine import LocalEngine
from tests.curated import SMALL
from tests.e2e.fine_tuning import DEPRECATED
from train import __main__ as commands
from train.config import RUN_RECORD
from train.countdown import recipe
from train.countdown.curriculum import Schedule
from train.countdown.model import ModelShape
from train.errors import TrainingError
from train.loop import distributed

pytestmark = [pytest.mark.slow, *DEPRECATED]
RECIPE = recipe.Recipe(
    data=CountdownData(spaces=SMALL, trajectories=40),
    shape=ModelShape(hidden=32, layers=2, heads=2, feed_forward=48),
    schedule=Schedule(tokens=60_000, decision_weights=((0.0, (2.0, 4.0)),), learning_rate=3e-3),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("countdown")
    recipe.prepare(RECIPE, folder)
    return folder


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "EVERY", 4)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_an_interrupted_training_ends_in_the_same_weights(prepared: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    recipe.train(RECIPE, prepared, "sprint", lines.append)
    whole = weights(prepared / "sprint")
    assert len(lines) > 4

    class Interrupted(Exception):
        pass

    def stop_early(line: str) -> None:
        lines.append(line)
        if '"tokens"' in line and len(lines) > 3:
            raise Interrupted

    again = tmp_path / "again"
    again.mkdir()
    for name in ("rft.jsonl", "sprint.jsonl", "sprint-validation.jsonl"):
        (again / name).symlink_to(prepared / name)
    (again / "tokenizer").symlink_to(prepared / "tokenizer")
    lines.clear()
    with pytest.raises(Interrupted):
        recipe.train(RECIPE, again, "sprint", stop_early)
    assert not (again / "sprint").exists()
    recipe.train(RECIPE, again, "sprint", lines.append)
    resumed = weights(again / "sprint")
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_both_methods_start_from_the_shared_part(prepared: Path, tmp_path: Path) -> None:
    parts, alone = tmp_path / "parts", tmp_path / "alone"
    for folder in (parts, alone):
        folder.mkdir()
        for path in (*prepared.glob("*.jsonl"), prepared / "tokenizer"):
            (folder / path.name).symlink_to(path)
    recipe.train(RECIPE, parts, "shared", lambda line: None)
    assert not (parts / "shared").exists()
    for method in recipe.METHODS:
        recipe.train(RECIPE, parts, method, lambda line: None)
        recipe.train(RECIPE, alone, method, lambda line: None)
        one, other = weights(parts / method), weights(alone / method)
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_incomplete_copy_of_the_shared_part_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared.checkpoints"
    (shared / "update-4").mkdir(parents=True)
    for name in ("latest", "update-4/states.pt"):
        (shared / name).write_text(name)

    def killed(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "latest").write_text("latest")
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copytree", killed)
    with pytest.raises(KeyboardInterrupt):
        recipe.begin(tmp_path, "rft")
    monkeypatch.undo()
    made = recipe.begin(tmp_path, "rft")
    assert made == tmp_path / "rft.checkpoints"
    assert (made / "update-4" / "states.pt").read_text() == "update-4/states.pt"
    assert {path.name for path in tmp_path.iterdir()} == {"shared.checkpoints", "rft.checkpoints"}
    assert recipe.begin(tmp_path, "shared") == shared


@pytest.mark.parametrize("failing", ["shared", "rft"])
def test_if_one_part_fails_the_other_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"""#!/bin/sh
cd {tmp_path}
case $* in
  *--part?shared*) [ {failing} = rft ]; exit $(($? * 3));;
  *--part?rft*) while [ ! -e pid ]; do sleep 0.1; done; exit 3;;
esac
echo $$ > written && mv written pid && exec sleep 60
""")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    began = time.monotonic()
    with pytest.raises(TrainingError, match=f"training of {failing} ended with exit status 3"):
        recipe.both(tmp_path, 2, [])
    assert time.monotonic() - began < 30
    pid = tmp_path / "pid"
    assert pid.exists() == (failing == "rft")
    if pid.exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)


@pytest.mark.anyio
async def test_the_exported_folder_runs_in_the_engine(prepared: Path) -> None:
    shorter = replace(RECIPE, schedule=replace(RECIPE.schedule, tokens=10_000))
    recipe.train(shorter, prepared, "rft", lambda line: None)
    async with LocalEngine(prepared / "rft") as engine:
        prompt = tuple(engine.tokenizer.encode("Use 3, 5, 7 and 11 to make 24."))
        request = Request(prompt, Sampling(max_tokens=5, temperature=0.0))
        async with engine.generate(request) as stream:
            events = [event async for event in stream]
    assert isinstance(events[-1], Finish)


def test_one_command_makes_both_models_for_the_given_puzzles(tmp_path: Path) -> None:
    options = ("--size=small", "--numbers=3", "--trajectories=40", "--tokens=20000", "--threads=2")
    command = [sys.executable, "-m", "train", "countdown", "--out", str(tmp_path), *options]
    subprocess.run(command, check=True, env=distributed.environment())
    for method in recipe.METHODS:
        made = json.loads((tmp_path / method / "recipe.json").read_text())
        assert [space["count"] for space, _ in made["data"]["spaces"]] == [3]
        assert made["data"]["trajectories"] == 40
        assert made["schedule"]["tokens"] == 20_000
        assert json.loads((tmp_path / method / "config.json").read_text())["hidden_size"] == 96
        assert (tmp_path / method / "model.safetensors").exists()


def test_a_different_recipe_is_refused_in_a_folder_that_was_started(
    prepared: Path, tmp_path: Path
) -> None:
    made = {path: path.read_bytes() for path in prepared.glob("*.json*")}
    recipe.prepare(RECIPE, prepared)
    fewer = replace(RECIPE, schedule=replace(RECIPE.schedule, tokens=50_000))
    with pytest.raises(
        TrainingError, match=r"a different schedule\.tokens: give another --out, or rem"
    ):
        recipe.prepare(fewer, prepared)
    with pytest.raises(TrainingError, match=r"a different data\.drills, data\.runs.*shape\.hidden"):
        commands.countdown(out=prepared, size="small", trajectories=9, tokens=9, part="sprint")
    assert {path: path.read_bytes() for path in prepared.glob("*.json*")} == made
    # A folder without a run record is accepted.
    for path in prepared.glob("*.jsonl"):
        (tmp_path / path.name).symlink_to(path)
    recipe.prepare(fewer, tmp_path)
    assert not (tmp_path / RUN_RECORD).exists()


def test_no_held_out_puzzle_is_in_the_training_data(prepared: Path) -> None:
    for method in recipe.METHODS:
        for sample in recipe.samples.read(prepared / f"{method}.jsonl"):
            question = sample.transcript.question.replace(drills.ASKED, "")
            assert split(Puzzle.parse(question)) == "train"
