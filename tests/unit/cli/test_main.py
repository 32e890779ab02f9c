"""What `sprint solve` and `sprint resume` do with their options.

The tests of replay are in tests/unit/traces/test_replay.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import sprint_agent
from sprint_agent import Limits, Trace
from sprint_agent.countdown import SmallerPuzzle, solver
from sprint_agent.engine import Sampling
from sprint_agent.join import FirstSuccess
from tests.script import Continuing, answer, plan
from tests.unit.cli.commands import Cli

URL = "http://127.0.0.1:9"
PUZZLE = "Use 3, 5, 7 and 11 to make 24."
RIGHT = "(7 - 3) * (11 - 5)"


class TestSolve:
    def test_any_question_is_solved_by_the_engine_that_is_named(self, cli: Cli) -> None:
        cli.script = Continuing([plan("half", "rest"), answer("5")])
        status, out, err = cli.run("solve", "What?", "--engine", URL)
        assert (status, err) == (0, "")
        for words in ("What?", "2 prompts", "✓ 1.1", "✓ 1.2", "half", "did 1.2", "Answer  5"):
            assert words in out
        assert "checked" not in out
        assert cli.engines == [URL]
        assert cli.settings["executors"] == []
        assert cli.settings["limits"] == Limits()
        assert cli.settings["join"] == "all"
        assert cli.settings["sampling"] == Sampling()

    @pytest.mark.parametrize(("engine", "named"), [([], solver.MODEL), (["--engine", URL], URL)])
    def test_a_puzzle_is_checked_with_every_engine(
        self, cli: Cli, engine: list[str], named: object
    ) -> None:
        cli.script = lambda prompt: answer(RIGHT)
        status, out, _ = cli.run("solve", PUZZLE, *engine)
        assert status == 0
        assert re.search(r"checked +right", out)
        assert cli.engines == [named]
        assert cli.settings["executors"] == [SmallerPuzzle()]
        assert isinstance(cli.settings["join"], FirstSuccess)
        assert cli.settings["sampling"].temperature == 0
        assert cli.settings["limits"] == (Limits() if engine else solver.LIMITS)

    def test_a_wrong_answer_or_none_is_status_1(self, cli: Cli) -> None:
        cli.script = lambda prompt: answer("3 + 5 + 7 + 11")
        status, out, _ = cli.run("solve", PUZZLE)
        assert status == 1
        assert re.search(r"checked +wrong: ", out)
        cli.script = Continuing([plan("half"), answer("5")])
        status, out, _ = cli.run("solve", "What?", "--engine", URL, "--tokens", "60")
        assert status == 1
        assert "none: the limit tokens ended the run" in out

    def test_the_shipped_model_is_said_to_solve_puzzles_only(self, cli: Cli) -> None:
        line = cli.refuse("solve", "hello")
        assert "the shipped model solves Countdown puzzles only" in line
        assert "--engine 'openai+http" in line
        assert "the question is empty" in cli.refuse("solve", " ", "--engine", URL)

    def test_json_is_printed_alone(self, cli: Cli) -> None:
        cli.script = lambda prompt: answer("5")
        status, out, err = cli.run("solve", "What?", "--engine", URL, "--json")
        assert (status, err) == (0, "")
        assert json.loads(out)["answer"] == "5"


class TestLimits:
    def test_each_limit_is_the_agents_own(self, cli: Cli) -> None:
        """A limit of a call could only be tighter than the agent's."""
        cli.script = lambda prompt: answer(RIGHT)
        limits = ["--deadline", "1.5", "--tokens", "900", "--stages", "7", "--concurrency", "99"]
        expected = Limits(deadline=1.5, tokens=900, stages=7, concurrency=99)
        for question, engine in ((PUZZLE, []), ("What?", ["--engine", URL])):
            cli.run("solve", question, *engine, *limits)
            assert cli.settings["limits"] == expected

    def test_one_executor_at_a_time_after_the_plan(self, cli: Cli) -> None:
        cli.script = lambda prompt: answer(RIGHT)
        cli.run("solve", PUZZLE, "--sequential", "--concurrency", "9", "--dispatch", "tag")
        assert cli.settings["dispatch"] == "stage"
        assert cli.settings["limits"] == Limits(stages=solver.LIMITS.stages, concurrency=1)

    @pytest.mark.parametrize("name", ["deadline", "tokens", "stages", "concurrency"])
    @pytest.mark.parametrize("value", ["0", "-1", "many"])
    def test_a_limit_that_is_none_is_refused(self, cli: Cli, name: str, value: str) -> None:
        line = cli.refuse("solve", "What?", "--engine", URL, f"--{name}={value}")
        assert name in line
        assert value in line

    @pytest.mark.parametrize("name", ["tokens", "stages", "concurrency"])
    def test_a_fraction_is_not_rounded(self, cli: Cli, name: str) -> None:
        line = cli.refuse("solve", "What?", "--engine", URL, f"--{name}", "1.5")
        assert f"--{name}" in line
        assert "1.5 is not a whole number" in line


class TestEngines:
    def test_the_model_is_named_apart(self, cli: Cli) -> None:
        cli.script = lambda prompt: answer("5")
        cli.run("solve", "What?", "--engine", f"openai+{URL}", "--model", "m")
        assert cli.engines == [f"openai+{URL}#m"]

    def test_executors_have_another_engine(self, cli: Cli) -> None:
        cli.script = lambda prompt: answer("5")
        cli.run("solve", "What?", "--engine", URL, "--executor-engine", "http://127.0.0.1:8")
        assert cli.engines == [URL, "http://127.0.0.1:8"]

    @pytest.mark.parametrize(
        ("engine", "words"),
        [
            ([], "the shipped model solves Countdown puzzles only"),
            (["--engine", URL], "add --engine openai+URL"),
            (["--engine", f"openai+{URL}#n"], "leave one of them out"),
        ],
    )
    def test_a_model_that_means_nothing_is_refused(
        self, cli: Cli, engine: list[str], words: str
    ) -> None:
        assert words in cli.refuse("solve", "What?", *engine, "--model", "m")

    def test_the_shipped_model_has_no_other_name(self, cli: Cli) -> None:
        assert "add --engine openai+URL" in cli.refuse("solve", PUZZLE, "--model", "m")


class TestResume:
    SCRIPT = Continuing([plan("half", "rest"), answer("5")])

    def cut_off(self, cli: Cli, path: Path) -> None:
        """Writes the trace of a run that ended after its first stage."""
        cli.script = self.SCRIPT
        assert cli.run("solve", "What?", "--engine", URL, "--trace", str(path))[0] == 0
        lines = path.read_bytes().splitlines(keepends=True)
        ends = [number for number, line in enumerate(lines, 1) if b'"StageEnded"' in line]
        path.write_bytes(b"".join(lines[: ends[0]]))

    def test_a_run_is_continued_and_shown(self, cli: Cli, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        self.cut_off(cli, path)
        status, out, err = cli.run("resume", str(path), "--engine", URL)
        assert (status, err) == (0, "")
        for words in ("What?", "resumed after", "✓ 1.2", "did 1.2", "Answer  5", "wall time"):
            assert words in out
        assert cli.engine is not None
        assert len(cli.engine.requests) == 1, "only the answer was not in the trace"
        result = Trace.read(path).result
        assert result is not None
        assert result.answer == "5"

    def test_a_limit_is_raised(self, cli: Cli, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        cli.script = self.SCRIPT
        solve = ("solve", "What?", "--engine", URL, "--trace", str(path))
        assert cli.run(*solve, "--tokens", "60")[0] == 1
        assert cli.run("resume", str(path), "--engine", URL, "--tokens", "61", "--json")[0] == 1
        status, out, err = cli.run("resume", str(path), "--engine", URL, "--json")
        assert (status, err) == (0, "")
        assert json.loads(out)["answer"] == "5"

    def test_a_puzzle_is_checked_again(self, cli: Cli, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        cli.script = lambda prompt: answer(RIGHT)
        cli.run("solve", PUZZLE, "--trace", str(path))
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
        status, out, _ = cli.run("resume", str(path))
        assert status == 0
        assert re.search(r"checked +right", out)
        assert cli.settings["executors"] == [SmallerPuzzle()]
        assert cli.settings["limits"] == solver.LIMITS

    def test_what_cannot_be_resumed_is_one_line(self, cli: Cli, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        assert "cannot read the trace" in cli.refuse("resume", str(path), "--engine", URL)
        self.cut_off(cli, path)
        assert "the shipped model solves Countdown" in cli.refuse("resume", str(path))
        assert "add --engine openai+URL" in cli.refuse(
            "resume", str(path), "--engine", URL, "--model", "m"
        )
        cli.run("resume", str(path), "--engine", URL)
        line = cli.refuse("resume", str(path), "--engine", URL)
        assert f"has ended: sprint replay {path} shows it" in line
        path.write_text('{"trace": 3}\n')
        assert "ends before its run began" in cli.refuse("resume", str(path), "--engine", URL)


def test_the_version(cli: Cli) -> None:
    assert cli.run("--version") == (0, f"{sprint_agent.__version__}\n", "")


@pytest.mark.parametrize("command", ["solve", "resume"])
def test_the_help_says_what_each_option_is_for(cli: Cli, command: str) -> None:
    status, out, _ = cli.run(command, "--help")
    assert status == 0
    names = "engine model executor-engine executor dispatch sequential deadline tokens stages"
    for name in (*names.split(), "concurrency", "json", "config"):
        assert re.search(rf"│ --{name} .*[A-Z][a-z]+ ", out), name
    assert "--no-" not in out
    assert "--empty-" not in out
