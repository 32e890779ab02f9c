"""NestedExecutor: the answer of a nested run is the text of its execution."""

from __future__ import annotations

import pytest

from sprint_agent import Executor, Limits, NestedExecutor, Sprint, executor
from sprint_agent.testing import ScriptedEngine
from tests.script import answer, execution_of, plan

pytestmark = pytest.mark.anyio


def script(context: str) -> str:
    """Plans "What?" as one nested run on "six times seven", which plans one prompt."""
    inside = context.startswith("<Question>\nsix")
    if execution_of(context):
        return "42\n</execution_"
    if "<Execution_1>" in context:
        return answer("42" if inside else "done")
    return plan("tell: n") if inside else plan("solve: six times seven")


@executor
async def tell(prompt: str) -> str:
    return "42"


async def test_the_answer_of_the_nested_run_is_the_text() -> None:
    nested = NestedExecutor(executors=[tell])
    result = await Sprint(ScriptedEngine(script), executors=[nested]).solve("What?")
    (execution,) = result.stages[0].executions
    assert (execution.executor, execution.status) == ("solve", "done")
    assert execution.text.strip() == "42"
    assert execution.usage.completion_tokens > len(answer("42"))


@pytest.mark.parametrize(("inner", "failures"), [([tell], 0), ([], 1)])
async def test_the_nested_run_knows_its_own_executors_only(
    inner: list[Executor], failures: int
) -> None:
    engine = ScriptedEngine(script)
    await Sprint(engine, executors=[NestedExecutor(executors=inner), tell]).solve("What?")
    contexts = [engine.prompt_text(request) for request in engine.requests]
    nested = [text for text in contexts if text.startswith("<Question>\nsix")]
    assert len(nested) == 2
    assert nested[1].count("Failed:") == failures


async def test_a_limit_that_ends_the_nested_run_fails_the_execution() -> None:
    nested = NestedExecutor(executors=[tell], limits=Limits(tokens=3))
    result = await Sprint(ScriptedEngine(script), executors=[nested]).solve("What?")
    (execution,) = result.stages[0].executions
    assert execution.status == "failed"
    assert "the limit tokens ended the nested run after 0 stages" in (execution.error or "")
    assert result.answer == "done"
