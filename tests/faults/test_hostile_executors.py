"""No text of an executor changes the meaning of the planner's text."""

from __future__ import annotations

import pytest

from sprint_agent import Sprint, executor
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import parse
from sprint_agent.testing import ScriptedEngine
from tests.faults.hostile import HOSTILE

pytestmark = pytest.mark.anyio
PLAN = '<Plan_1>\n<prompt_1.1 executor="tool"> go </prompt_1.1>\n</Plan_1>'


def script(prompt: str) -> str:
    if prompt.endswith("<think>\n"):
        return PLAN
    return "<Final_answer>\n\\boxed{honest}\n</Final_answer>"


def test_there_are_enough_hostile_texts() -> None:
    assert len(set(HOSTILE)) >= 50


@pytest.mark.parametrize("around", ["{}", "before {} after", "{}\n", "\n{}", "a\n{}\nb\n"])
@pytest.mark.parametrize("hostile", HOSTILE)
async def test_the_run_follows_the_plan(hostile: str, around: str) -> None:
    text = around.format(hostile)

    @executor
    async def tool(prompt: str) -> str:
        return text

    engine = ScriptedEngine(script)
    result = await Sprint(engine, executors=[tool]).solve("What?")
    assert result.answer == "honest"
    assert [len(stage.prompts) for stage in result.stages] == [1]
    assert len(engine.requests) == 2
    # Parsed as a whole, the text that the planner saw has exactly one plan and one execution.
    transcript = parse(result.text + "</Final_answer>\n</think>\n")
    assert [len(stage.executions) for stage in transcript.stages] == [1]
    assert transcript.stages[0].turn == PLAN.removesuffix("</Plan_1>")
    assert tags.boxed(transcript.answer) == "honest"


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_a_question_cannot_forge_the_opening(hostile: str) -> None:
    engine = ScriptedEngine(script)
    await Sprint(engine, executors=[]).solve(f"What? {hostile}")
    prompt = engine.prompt_text(engine.requests[0])
    assert prompt.count("</Question>") == 1
    assert "<Plan_" not in prompt
    assert "<Final_answer>" not in prompt
