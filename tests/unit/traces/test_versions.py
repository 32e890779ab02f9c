"""Traces of version 2 are read, shown and resumed.

`data/version-2.jsonl` was written by that version.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sprint_agent import Limits, NestedExecutor, Sprint, Trace, first_success
from sprint_agent.result import Verdict
from sprint_agent.testing import ScriptedEngine
from tests.script import answer, continuing, plan

pytestmark = pytest.mark.anyio
OLD = Path(__file__).parent / "data" / "version-2.jsonl"


def script(prompt: str) -> str:
    """Says what the engine of the recorded run said."""
    if "<Question>\nharder" in prompt:
        if "</Execution_1>" in prompt:
            return answer("7")
        executing = prompt.rstrip().endswith("<execution_1.1>")
        return "seven\n</execution_1.1>" if executing else plan("think")
    if prompt.rstrip().endswith("<execution_1.2>"):
        return "hit 5\n"
    return answer("5") if "</Execution_1>" in prompt else plan("solve: harder", "look")


def agent(engine: ScriptedEngine) -> Sprint:
    join = first_success(lambda e: "found 5" if "hit" in e.text else False)
    limits = Limits(concurrency=1)
    return Sprint(engine, executors=[NestedExecutor()], join=join, limits=limits)


async def test_it_is_read_with_the_names_of_today() -> None:
    trace = Trace.read(OLD)
    assert trace.question == "What?"
    assert trace.result is not None
    (stage,) = trace.result.stages
    assert stage.verdict == Verdict(2, "found 5")
    assert stage.accepted == stage.executions[1]
    assert stage.executions[1].slot_free_at == 118
    assert stage.seconds_after_plan > 0
    assert trace.result.answer_usage.completion_tokens == 40
    # The same run today, but for its times.
    again = await agent(ScriptedEngine(script)).solve("What?")
    assert again.text == trace.result.text
    assert again.usage == trace.result.usage


async def test_it_is_resumed(tmp_path: Path) -> None:
    whole = Trace.read(OLD).result
    assert whole is not None
    lines = OLD.read_bytes().splitlines(keepends=True)
    for kept in range(2, len(lines), 7):
        path = tmp_path / "run.jsonl"
        path.write_bytes(b"".join(lines[:kept]))
        engine = ScriptedEngine(continuing(script))
        result = await agent(engine).resume(path)
        # Whether the nested run ends before the check accepts its sibling is a matter of time.
        assert result.answer == whole.answer
        assert [stage.verdict for stage in result.stages] == [Verdict(2, "found 5")]
        assert Trace.read(path).result == result
        headers = [json.loads(line).get("trace") for line in path.read_bytes().splitlines()]
        assert [version for version in headers if version] == [2, 3]
