"""`--config FILE`: the options of a TOML file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sprint_agent import Limits, Trace
from tests.script import answer
from tests.unit.cli.commands import Cli

URL = "http://127.0.0.1:9"


@pytest.fixture
def path(tmp_path: Path, cli: Cli) -> Path:
    cli.script = lambda prompt: answer("5")
    return tmp_path / "sprint.toml"


@pytest.mark.parametrize("header", ["", "[sprint]\n", "[other]\nmodel = 1\n[sprint]\n"])
def test_a_file_has_the_options_of_the_command_line(cli: Cli, path: Path, header: str) -> None:
    trace = path.with_name("run.jsonl")
    path.write_text(
        header
        + f"""engine = "openai+{URL}"
        model = "m"
        executor-engine = "http://127.0.0.1:8"
        executor = ["sprint_agent:PythonExecutor", "sprint_agent:NestedExecutor"]
        dispatch = "stage"
        deadline = 60
        tokens = 900
        stages = 7
        concurrency = 9
        json = true
        trace = '{trace}'
        """
    )
    status, out, err = cli.run("solve", "What?", "--config", str(path))
    assert (status, err) == (0, "")
    assert json.loads(out)["answer"] == "5"
    assert cli.engines == [f"openai+{URL}#m", "http://127.0.0.1:8"]
    assert [executor.name for executor in cli.settings["executors"]] == ["python", "solve"]
    assert cli.settings["dispatch"] == "stage"
    assert cli.settings["limits"] == Limits(deadline=60, tokens=900, stages=7, concurrency=9)
    assert Trace.read(trace).result is not None


def test_the_command_line_takes_precedence(cli: Cli, path: Path) -> None:
    path.write_text(f"engine = '{URL}'\ntokens = 900\nstages = 7\nexecutor = ['none:such']\n")
    named = ["--tokens", "800", "--executor", "sprint_agent:PythonExecutor"]
    assert cli.run("solve", "What?", "--config", str(path), *named)[0] == 0
    assert cli.settings["limits"] == Limits(tokens=800, stages=7)
    assert [executor.name for executor in cli.settings["executors"]] == ["python"]


def test_a_resumed_run_takes_the_same_file(cli: Cli, path: Path) -> None:
    """`trace` is an option of solve, and no mistake in a file that resume reads too."""
    trace = path.with_name("run.jsonl")
    path.write_text(f"engine = '{URL}'\nstages = 7\ntrace = '{trace}'\n")
    assert cli.run("solve", "What?", "--config", str(path))[0] == 0
    trace.write_bytes(b"".join(trace.read_bytes().splitlines(keepends=True)[:-1]))
    assert cli.run("resume", str(trace), "--config", str(path))[0] == 0
    assert cli.settings["limits"] == Limits(stages=7)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("engin = 'x'", "engin"),
        ("[sprint]\nengin = 'x'", "engin"),
        ("[sprint]\n[sprint.solve]\nengine = 'x'", "solve"),
        ("[other]\nengine = 'x'", "other"),
        ("engine = 'x'\n[sprint]\ntokens = 5", "the key engine in"),
        ("question = 'What?'", "question"),
        ("config = 'other.toml'", "config"),
        ("sprint = 5", "sprint"),
        ("tokens = 'many'", "tokens"),
        ("tokens = 1.5", "tokens"),
        ("tokens = true", "tokens"),
        ("tokens = [1, 2]", "tokens"),
        ("tokens = -1", "the limit tokens must be positive"),
        ("dispatch = 'never'", "never"),
        ("sequential = 'perhaps'", "perhaps"),
        ("executor = 5", "is not MODULE:NAME"),
        ("executor = []\nengine = {a = 1}", "engine"),
        ("engine = ", "is not TOML"),
    ],
)
def test_what_is_no_option_is_one_line(cli: Cli, path: Path, content: str, words: str) -> None:
    path.write_text(content + "\n")
    line = cli.refuse("solve", "What?", "--engine", URL, "--config", str(path))
    assert words in line
    assert cli.engines == [] or "positive" in line


def test_the_line_names_the_file(cli: Cli, path: Path) -> None:
    path.write_text("engin = 'x'\n")
    line = cli.refuse("solve", "What?", "--config", str(path))
    assert str(path) in line
    assert "did you mean engine?" in line


def test_a_file_that_cannot_be_read_is_one_line(cli: Cli, path: Path) -> None:
    assert "No such file" in cli.refuse("solve", "What?", "--config", str(path))
    assert "Is a directory" in cli.refuse("solve", "What?", "--config", str(path.parent))
    path.write_bytes(b"engine = '\xff'")
    assert "is not TOML" in cli.refuse("solve", "What?", "--config", str(path))
