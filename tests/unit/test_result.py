"""What a run's metrics say."""

from __future__ import annotations

import anyio
import pytest

from sprint_agent import Sprint, Task, executor
from sprint_agent.result import Execution
from sprint_agent.testing import Reply, ScriptedEngine
from tests.script import Scripted, answer, plan

pytestmark = pytest.mark.anyio


async def test_work_is_what_the_parts_took_one_by_one() -> None:
    @executor
    async def nap(task: Task) -> str:
        await anyio.sleep(0.05)
        return "awake"

    turns: list[str | Reply] = [plan(*["nap: now"] * 6), answer("42")]
    result = await Sprint(ScriptedEngine(Scripted(turns)), executors=[nap]).solve("What?")
    naps = sum(execution.seconds for execution in result.stages[0].executions)
    assert naps >= 6 * 0.05
    # Side by side they took as long as one; the planner's own time is in both figures.
    assert result.work_seconds - result.seconds == pytest.approx(
        naps - result.stages[0].seconds_after_plan, abs=1e-6
    )
    assert result.work_seconds > result.seconds + 4 * 0.05


def test_an_execution_that_never_began_took_no_time() -> None:
    from sprint_agent.engine import TokenUsage

    never = Execution(1, 1, "model", "stopped", "Stopped.", TokenUsage(), None, 3.0)
    assert never.seconds == 0.0
