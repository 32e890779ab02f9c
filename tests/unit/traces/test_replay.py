"""`sprint replay` shows a complete trace or one that was cut off, and refuses other files."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from sprint_agent import NestedExecutor, PlanError, Sprint
from sprint_agent.cli.main import main
from sprint_agent.testing import ScriptedEngine
from tests.script import Continuing, answer, plan

SCRIPTS = {
    "What?": Continuing([plan("solve: hard", "easy"), answer("5")]),
    "hard": Continuing([plan("solve: harder", "half of it"), answer("inner")]),
    "harder": Continuing([plan("a rest"), answer("innermost")]),
}


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The trace of a run with a nested run, which has a nested run too."""
    monkeypatch.setenv("COLUMNS", "120")
    path = tmp_path / "run.jsonl"
    engine = ScriptedEngine(lambda prompt: SCRIPTS[prompt.split("\n")[1]](prompt), chunk=1000)
    solve = NestedExecutor(executors=[NestedExecutor()])

    async def record() -> None:
        assert (await Sprint(engine, executors=[solve]).solve("What?", trace=path)).answer == "5"

    anyio.run(record)
    return path


def replay(*arguments: str) -> int | str | None:
    """Returns the exit status of `sprint replay`."""
    with pytest.raises(SystemExit) as ended:
        main(["replay", *arguments])
    return ended.value.code


def one_line(captured: pytest.CaptureFixture[str]) -> str:
    """Returns the one line on stderr. Nothing may be on stdout."""
    out, err = captured.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


def test_a_run_is_shown_with_its_nested_runs(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(str(trace)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    starts = {line.strip(): len(line) - len(line.lstrip()) for line in out.splitlines()}
    assert [starts[question] for question in ("What?", "hard", "harder")] == [0, 4, 8]
    assert [starts[f"Answer  {text}"] for text in ("5", "inner", "innermost")] == [0, 4, 8]
    # Two executions of the run, two of its nested run, one of the innermost run. All are done.
    assert out.count("✓ 1.") == 5
    assert "▶" not in out
    for words in ("easy", "half of it", "a rest", "generated tokens", "wall time"):
        assert words in out


def test_a_run_that_failed_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.jsonl"

    async def record() -> None:
        with pytest.raises(PlanError):
            await Sprint(ScriptedEngine(lambda prompt: "")).solve("What?", trace=path)

    anyio.run(record)
    assert replay(str(path)) == 2
    error = capsys.readouterr().err
    assert "the run failed (PlanError: turn 1 of the planner" in error
    assert "the final answer is empty" in error
    assert error.rstrip().endswith(f"sprint resume {path} continues it")


def test_a_torn_trace_is_shown_up_to_its_end(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = trace.read_bytes().splitlines(keepends=True)
    innermost = next(k for k, line in enumerate(lines) if b'"RunEnded"' in line)
    trace.write_bytes(b"".join(lines[:innermost]) + lines[innermost][:40])
    assert replay(str(trace)) == 2
    out, err = capsys.readouterr()
    assert "Answer  innermost" in out
    assert "▶ 1.1 solve" in out
    assert "Answer  5" not in out
    assert "the run was cut off after" in err
    assert f"sprint resume {trace} continues it" in err


def test_a_trace_that_ends_before_its_run_began(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace.write_bytes(trace.read_bytes().splitlines(keepends=True)[0] + b'{"event": "Run')
    assert replay(str(trace)) == 2
    assert "start the run again" in one_line(capsys)


def test_a_file_that_is_not_a_trace_is_one_line(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for first, message in (
        (b'{"trace": 1}', "was written by version 1 of the trace format"),
        (b'{"trace": 4}', "was written by version 4 of the trace format"),
        (b"{}", "is not a trace of version 3"),
    ):
        trace.write_bytes(first + b"\n" + trace.read_bytes().partition(b"\n")[2])
        assert replay(str(trace)) == 2
        assert message in one_line(capsys)
    assert replay(str(trace.with_name("none.jsonl"))) == 2
    assert "No such file" in one_line(capsys)
    assert replay(str(trace.parent)) == 2
    assert "cannot read the trace" in one_line(capsys)


def test_the_speed_divides_the_time(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run took an hour. With any other meaning of the speed, this would take minutes."""
    records = [json.loads(line) for line in trace.read_text().splitlines()]
    records[-1]["at"] = 3600.0
    trace.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert replay(str(trace), "--speed", "100000") == 0
    assert "Answer  5" in capsys.readouterr().out
    for speed in ("0", "-1", "nan"):
        assert replay(str(trace), "--speed", speed) == 2
        assert "the speed must be above 0" in one_line(capsys)
