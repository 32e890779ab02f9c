"""The paper's own metrics of a run."""

from __future__ import annotations

import pytest

from sprint_agent import Execution, Prompt, Result, Sprint, Stage, executor
from sprint_agent.engine import TokenUsage
from sprint_agent.paper import PaperMetrics, paper_metrics
from sprint_agent.result import ExecutionStatus
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
    # The first prompt ends after 5 words, its execution has 5; the second ends after 7, its has 1.
    # Then come 3 words of the plan, and 3 of the answer.
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


def stage(number: int, plan: str, *executions: tuple[ExecutionStatus, str]) -> Stage:
    prompts = tuple(Prompt(n, "task", None, 0) for n, _ in enumerate(executions, 1))
    ended = tuple(
        Execution(number, n, "model", status, text, TokenUsage(), started=0.0, ended=1.0)
        for n, (status, text) in enumerate(executions, 1)
    )
    return Stage(number, plan, prompts, ended, TokenUsage())


def run(text: str, *stages: Stage) -> Result:
    return Result("q", "42", text, stages, TokenUsage(), seconds=1.0)


def test_the_longest_path_of_each_stage_counts() -> None:
    first = stage(
        1,
        "<Plan_1>\na b\n<prompt_1.1> c </prompt_1.1>\n-----\n<prompt_1.2> d e </prompt_1.2>\nf g h\n",
        ("done", "1 2 3 4"),
        ("stopped", "it was stopped while it worked on this"),
    )
    second = stage(2, "<Plan_2>\n<prompt_2.1> i </prompt_2.1>\n", ("done", "5"))
    text = "</Execution_1> x </Execution_2>\n\n<Final_answer>\ny z\n</Final_answer>\n</think>\n"
    metrics = paper_metrics(run(text, first, second), words)
    # First stage: 3 + 4 by the first prompt, 5 + 0 by the second, then 3. Second: 1 + 1. Answer: 2.
    assert metrics == PaperMetrics((7 + 3) + 2 + 2, (8 + 4) + 2 + 2, 1.5)


def test_a_plan_without_prompts_counts_as_a_whole() -> None:
    metrics = paper_metrics(run("</Execution_1> a", stage(1, "<Plan_1>\nb c d\n")), words)
    assert metrics == PaperMetrics(4, 4, 0.0)


def test_without_stages_the_thoughts_and_the_answer_count() -> None:
    text = "<Question>\nmany words here\n</Question>\n<think>\na b\n<Final_answer>\nc\n</Final_answer>\n"
    assert paper_metrics(run(text), words) == PaperMetrics(3, 3, 0.0)
