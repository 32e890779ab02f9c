"""`sprint` as a user calls it: in a separate process, with its output and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.sglang_server import free_port
from sprint_agent.countdown import Puzzle, solver, verify

QUESTION = "Use 3, 5, 7 and 11 to make 24."
PUZZLE = Puzzle((3, 5, 7, 11), 24)


def sprint(*arguments: str, command: str = "solve") -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "sprint_agent.cli.main", command, *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


def test_a_puzzle_is_solved_and_shown() -> None:
    done = sprint(QUESTION)
    assert done.returncode == 0, done.stderr
    assert QUESTION in done.stdout
    assert "Plan 1" in done.stdout
    assert "✓ 1." in done.stdout
    for words in ("answer", "right", "generated tokens", "sequential tokens", "wall time"):
        assert words in done.stdout


@pytest.mark.parametrize("extra", [[], ["--dispatch", "stage"], ["--sequential"]])
def test_the_result_as_json(extra: list[str]) -> None:
    done = sprint("--json", *extra, QUESTION)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert verify(result["answer"], PUZZLE)
    assert result["seconds"] > 0
    (stage,) = result["stages"]
    assert stage["plan"].startswith("<Plan_1>")
    assert len(stage["prompts"]) == len(stage["executions"]) > 1
    usage = result["usage"]
    parts = ("prompt", "completion", "total", "sequential", "cached")
    assert set(usage) == {f"{part}_tokens" for part in parts}
    assert 0 < usage["sequential_tokens"] <= usage["completion_tokens"]
    if extra == ["--sequential"]:
        assert usage["sequential_tokens"] == usage["completion_tokens"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_result_is_shown_even_if_its_trace_cannot_be_written() -> None:
    done = sprint("--json", "--trace", "/dev/full", QUESTION)
    assert done.returncode == 2
    assert verify(json.loads(done.stdout)["answer"], PUZZLE)
    (line,) = done.stderr.splitlines()
    assert "is incomplete: No space left on device" in line


def test_a_run_that_a_limit_ended_is_resumed_and_shown_again(tmp_path: Path) -> None:
    path, config = tmp_path / "run.jsonl", tmp_path / "sprint.toml"
    config.write_text(f"trace = '{path}'\ndispatch = 'stage'\njson = true\n")
    done = sprint("--config", str(config), "--tokens", "30", QUESTION)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["limit"] == "tokens"
    done = sprint("--config", str(config), str(path), command="resume")
    assert done.returncode == 0, done.stderr
    assert verify(json.loads(done.stdout)["answer"], PUZZLE)
    done = sprint(str(path), "--speed", "100", command="replay")
    assert done.returncode == 0, done.stderr
    assert "resumed after" in done.stdout


def long_question() -> str:
    return "Use 3, 5 and 7 to make 24." + " please" * 6000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([""], "the question is empty"),
        (["hello"], "the shipped model solves Countdown puzzles only"),
        (["Use 3, x and 7 to make 24."], "is not a Countdown question"),
        (["Use 3, 5 and 7 to make 24.5."], "is not a Countdown question"),
        (["Use 3 and 5 to make 8."], "3 to 6 numbers"),
        (["Use 3, 5 and 0 to make 8."], "1 to 1000000"),
        (["--engine", "/no/such/folder", QUESTION], "is not a model folder"),
        (["--engine", ".", QUESTION], "is not a model folder"),
        (["--engine", "URL", QUESTION], "no server answers"),
        (["--engine", str(solver.MODEL), "LONG"], "shorten the prompt"),
        (["--dispatch", "never", QUESTION], "dispatch"),
        (["--nonsense", QUESTION], "nonsense"),
        ([], "QUESTION"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments: list[str], words: str) -> None:
    replaced = {"URL": f"http://127.0.0.1:{free_port()}", "LONG": long_question()}
    done = sprint(*(replaced.get(argument, argument) for argument in arguments))
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_the_shipped_model_is_small_and_has_a_card() -> None:
    size = sum(path.stat().st_size for path in solver.MODEL.iterdir())
    assert size <= 16 * 2**20
    assert (solver.MODEL / "README.md").is_file()
    rft = Path(__file__).parents[2] / "benchmarks" / "models" / "rft"
    assert sum(path.stat().st_size for path in rft.iterdir()) <= 16 * 2**20
