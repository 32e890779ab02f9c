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
    # The plan has 10 words, of which 3 are written beside the executions. The answer has 3.
    assert metrics.sequential_tokens == 10 + 3
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
    # First stage: 8 of the plan, 3 + 4 by the first prompt, 5 + 0 by the second. Second: 1 + 1.
    # Answer: 2.
    assert metrics == PaperMetrics(8 + 2 + 2, (8 + 4) + 2 + 2, 1.5)


def test_a_plan_without_prompts_counts_as_a_whole() -> None:
    metrics = paper_metrics(run("</Execution_1> a", stage(1, "<Plan_1>\nb c d\n")), words)
    assert metrics == PaperMetrics(4, 4, 0.0)


def test_without_stages_the_thoughts_and_the_answer_count() -> None:
    text = "<Question>\nmany words here\n</Question>\n<think>\na b\n<Final_answer>\nc\n</Final_answer>\n"
    assert paper_metrics(run(text), words) == PaperMetrics(3, 3, 0.0)


@pytest.mark.parametrize(("tail", "work", "longest"), [(50, 50, 52), (5, 50, 52), (50, 5, 52)])
def test_the_rest_of_a_plan_is_written_beside_the_executions(
    tail: int, work: int, longest: int
) -> None:
    text = f"<Plan_1>\na <prompt_1.1> b </prompt_1.1>\n{'c ' * tail}\n"
    given = stage(1, text, ("done", "d " * work))
    metrics = paper_metrics(run("</Execution_1> e", given), words)
    assert metrics == PaperMetrics(longest + 1, 2 + tail + work + 1, 1.0)
