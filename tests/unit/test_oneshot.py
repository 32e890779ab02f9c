"""`solve` and `solve_sync`: any question with an engine, Countdown puzzles without one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sprint_agent
from sprint_agent import Limits, QuestionError, Trace, executor, first_success, solve, solve_sync
from sprint_agent.testing import ScriptedEngine
from tests.script import Scripted, answer, plan


def engine() -> ScriptedEngine:
    return ScriptedEngine(Scripted([plan("one", "shout: two"), answer("42")]))


@executor
async def shout(prompt: str) -> str:
    """Says it louder."""
    return prompt.upper()


@pytest.mark.anyio
async def test_any_question_with_an_engine(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    result = await solve("What?", engine=engine(), executors=[shout], trace=path)
    assert result.answer == "42"
    assert [e.text for e in result.stages[0].executions] == ["did 1.1\n", "TWO"]
    assert Trace.read(path).result == result


@pytest.mark.anyio
async def test_join_and_limits_are_used() -> None:
    join = first_success(lambda execution: execution.number == 1)
    result = await solve("What?", engine=engine(), executors=[shout], join=join)
    assert result.stages[0].accepted is not None
    limited = await solve("What?", engine=engine(), executors=[shout], limits=Limits(tokens=3))
    assert limited.limit == "tokens"


@pytest.mark.anyio
async def test_without_an_engine_a_puzzle_is_asked_for() -> None:
    with pytest.raises(
        QuestionError, match=r"solves Countdown puzzles only: .* name one, such as eng"
    ):
        await solve("How long is the Rhine?")
    with pytest.raises(ValueError, match="executors need an engine"):
        await solve("Use 3, 5, 7 and 11 to make 24.", executors=[shout])


@pytest.mark.anyio
async def test_inside_an_event_loop_the_sync_form_is_refused() -> None:
    with pytest.raises(RuntimeError, match="await `solve` in place of `solve_sync`"):
        solve_sync("What?", engine=engine())


def test_without_an_event_loop() -> None:
    assert solve_sync("What?", engine=engine(), executors=[shout]).answer == "42"


def test_the_version_is_a_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", sprint_agent.__version__)
