"""The examples run unchanged."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from sprint_agent.countdown import Puzzle, verify

pytestmark = pytest.mark.anyio
EXAMPLES = Path(__file__).parents[2] / "examples"


async def test_executors_of_an_application(capsys: pytest.CaptureFixture[str]) -> None:
    result = await runpy.run_path(str(EXAMPLES / "executors.py"))["main"]()
    assert [e.status for e in result.stages[0].executions] == ["done", "failed", "done"]
    assert result.answer == "548,703 people, a metro, and the weather is unknown"
    assert "weather    failed  Failed: ConnectionError" in capsys.readouterr().out


async def test_tools_programs_and_runs_within_runs(capsys: pytest.CaptureFixture[str]) -> None:
    result = await runpy.run_path(str(EXAMPLES / "tools.py"))["main"]()
    texts = [e.text.strip() for e in result.stages[0].executions]
    assert texts == ["Lisbon to Porto: 313 km", "338350", "42 and 72"]
    assert "'description': 'a city'" in capsys.readouterr().out


async def test_embedding(capsys: pytest.CaptureFixture[str]) -> None:
    result = await runpy.run_path(str(EXAMPLES / "embed.py"))["main"]()
    assert result.answer is not None
    assert verify(result.answer, Puzzle((3, 5, 7, 11), 24))
    assert "stage 1 ended" in capsys.readouterr().out
