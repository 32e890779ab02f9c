"""What a run's metrics say: the paper's own, and how long the parts of it took."""

from __future__ import annotations

import anyio
import pytest

from sprint_agent import Sprint, Task, executor, paper_metrics
from sprint_agent.result import Execution
from sprint_agent.testing import Reply, ScriptedEngine
from tests.script import Scripted, answer, plan

pytestmark = pytest.mark.anyio


def words(text: str) -> int:
    return len(text.split())


async def test_the_papers_metric_counts_words_without_tags() -> None:
    first = (
        "<Plan_1>\nthink of it\n<prompt_1.1> one two </prompt_1.1>\n-----\n"
        "more <prompt_1.2> three </prompt_1.2>\nand so on\n</Plan_1>"
    )
    turns: list[str | Reply] = [first, f"So then.\n{answer('42')}"]
    executions: dict[tuple[int, int], str | Reply] = {
        (1, 1): "a b c d e\n</execution_",
        (1, 2): "f\n</execution_",
    }
    result = await Sprint(ScriptedEngine(Scripted(turns, executions))).solve("What is it?")
    metrics = paper_metrics(result, words)
    # The first prompt ends behind 5 words and takes 5; the second behind 7 and takes 1. Then 3, then 3.
    assert metrics.sequential_tokens == 10 + 3 + 3
    assert metrics.total_tokens == 10 + 6 + 3
    assert metrics.parallelization_ratio == 2.0


async def test_the_papers_metric_of_a_run_without_stages_is_its_answer() -> None:
    result = await Sprint(ScriptedEngine(lambda _: f"I know. {answer('42')}")).solve("What is it?")
    assert paper_metrics(result, words).sequential_tokens == words("I know. \\boxed{42}")


async def test_what_failed_is_left_out_of_the_papers_metric() -> None:
    @executor
    async def broken(prompt: str) -> str:
        raise RuntimeError("one two three four")

    turns: list[str | Reply] = [plan("broken: x", "y"), answer("42")]
    engine = ScriptedEngine(Scripted(turns, {(1, 2): "a b\n</execution_"}))
    result = await Sprint(engine, executors=[broken]).solve("What?")
    assert paper_metrics(result, words).total_tokens == words("x y") + 2 + 1


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
