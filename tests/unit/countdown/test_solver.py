"""The solver: an agent whose executor solves smaller puzzles, and the shipped model."""

from __future__ import annotations

import pytest

from sprint_agent import QuestionError
from sprint_agent.countdown import Puzzle, solver
from sprint_agent.testing import ScriptedEngine
from tests.script import answer, execution_of, plan

pytestmark = pytest.mark.anyio
PUZZLE = Puzzle((3, 5, 7, 11), 24)


def script(context: str) -> str:
    if execution_of(context):
        return "None.\n</execution_"
    return answer("none") if "<Execution_1>" in context else plan("a - b")


async def test_the_agent_is_greedy_and_within_its_limits() -> None:
    engine = ScriptedEngine(script)
    async with solver.agent(engine) as agent:
        result = await agent.solve(PUZZLE.question)
    assert result.answer == "none"
    assert {request.sampling.temperature for request in engine.requests} == {0.0}
    assert {request.sampling.max_tokens for request in engine.requests} <= set(range(1, 513))


async def test_the_last_stage_is_the_answer() -> None:
    def always_plans(context: str) -> str:
        if execution_of(context):
            return "None.\n</execution_"
        return plan("a - b", stage=context.count("</Execution_") + 1)

    limit = solver.LIMITS.stages
    assert limit is not None
    async with solver.agent(ScriptedEngine(always_plans)) as agent:
        result = await agent.solve(PUZZLE.question)
    assert len(result.stages) == limit - 1


async def test_other_questions_are_refused_before_the_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(solver, "agent", None)
    with pytest.raises(QuestionError, match="is not a Countdown question"):
        await solver.solve("What is the capital of France?")


def test_the_shipped_model_is_complete() -> None:
    files = {path.name for path in solver.MODEL.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files
