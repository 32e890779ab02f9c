"""The Countdown recipe: the schedules of its parts, and the commands of its child processes."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("deepspeed")

from curate import samples
from curate.samples import Sample
from sprint_agent.protocol.transcript import Transcript
from sprint_agent.testing import CharTokenizer
from train import __main__ as commands
from train.countdown import recipe
from train.data.trees import TreeBuilder
from train.errors import TrainingError

RECIPE = recipe.Recipe()


def test_all_parts_have_the_same_schedule_until_the_shared_part_ends() -> None:
    tokens = RECIPE.schedule.tokens
    shared, sprint, rft = (recipe._schedule(RECIPE, part) for part in ("shared", "sprint", "rft"))
    end = int(RECIPE.sequential * tokens)
    for done in (0, end - 1):
        weights = [part.weights(done).tolist() for part in (shared, sprint, rft)]
        assert weights[0] == weights[1] == weights[2]
    assert sprint.weights(end + 1).tolist()[-2:] == [3.0, 8.0]
    assert rft.weights(end + 1).tolist()[-2:] == [4.0, 4.0]
    assert rft.weights(int(RECIPE.calibrated * tokens) + 1).tolist()[-2:] == [1.0, 1.0]


def test_reading_drops_long_samples_and_stops_at_the_budget(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    texts = ("short", "long " * 100, "short", "short", "short")
    samples.write((Sample(Transcript(text, (), "1\n")) for text in texts), path)
    builder = TreeBuilder(CharTokenizer())
    every, dropped = recipe.read_trees(path, builder, 200, 10_000)
    assert (len(every), dropped) == (4, 1)
    some, _ = recipe.read_trees(path, builder, 200, len(every[0]) + 1)
    assert some == every[:2]


@pytest.mark.parametrize("started", [False, True])
def test_the_shared_part_is_trained_first_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: bool
) -> None:
    called: list[tuple[object, list[str]]] = []
    monkeypatch.setattr(
        recipe, "_at_the_same_time", lambda parts, command: called.append((parts, command))
    )
    if started:
        (tmp_path / "rft.checkpoints").mkdir()
    recipe.both(tmp_path, 8, ["--size=small"])
    assert [parts for parts, _ in called] == [("shared",)] * (not started) + [recipe.METHODS]
    assert called[-1][1][-3:] == ["--size=small", "--threads", "4"]


def test_the_command_changes_the_recipe() -> None:
    made = commands._recipe("small", ["3", "4:99"], 50, 1000)
    assert [(space.count, space.high) for space, _ in made.data.spaces] == [(3, 13), (4, 99)]
    assert (made.data.trajectories, made.schedule.tokens, made.shape.hidden) == (50, 1000, 96)
    with pytest.raises(TrainingError):
        commands._recipe("small", ["many"], None, None)


def test_a_command_that_fails_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        commands.main(["--local_rank=0", "sft", "--config", str(tmp_path / "missing.toml")])
    assert raised.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
