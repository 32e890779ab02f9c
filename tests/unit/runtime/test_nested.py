"""A run inside an execution: what it shares with the run around it, and what it answers for."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from sprint_agent import (
    Execution,
    Executor,
    Limits,
    NestedExecutor,
    PromptReady,
    Result,
    RunStarted,
    Sprint,
    Task,
    executor,
    first_success,
)
from sprint_agent.runtime.scope import Dispatch
from sprint_agent.testing import Reply, ScriptedEngine
from sprint_agent.testing.scripted import Script
from tests.script import answer, execution_of, plan

pytestmark = pytest.mark.anyio
INNER = "hard part"
OUTER_PLAN = plan(f"solve: {INNER}", "other")


def script(context: str) -> str:
    """In the outer run, a nested run solves one prompt of two. It has a stage of two."""
    inside = context.startswith(f"<Question>\n{INNER}\n")
    number = execution_of(context)
    if number:
        return f"part {number[1]}\n</execution_"
    if "<Execution_1>" in context:
        return answer("inner 42" if inside else "outer 42")
    return plan("a", "work: b") if inside else OUTER_PLAN


@executor
async def work(prompt: str) -> str:
    await anyio.lowlevel.checkpoint()
    return f"worked on {prompt}"


NESTED = NestedExecutor(executors=[work])


async def solve(
    *executors: Executor, limits: Limits = Limits()
) -> tuple[Result, Execution, ScriptedEngine]:
    engine = ScriptedEngine(script)
    agent = Sprint(engine, executors=executors, limits=limits)
    result = await agent.solve("What?")
    assert engine.in_flight == 0
    return result, result.stages[0].executions[0], engine


class TestAnswers:
    async def test_its_answer_is_the_execution_s_text(self) -> None:
        result, nested, engine = await solve(NESTED)
        assert (nested.status, nested.text) == ("done", "inner 42")
        assert result.answer == "outer 42"
        assert any("worked on b" in engine.prompt_text(r) for r in engine.requests)
        assert "worked on b" not in result.text

    async def test_its_limit_is_a_failed_execution_and_the_run_goes_on(self) -> None:
        for limits, which in [(Limits(tokens=5), "tokens"), (Limits(deadline=1e-9), "deadline")]:
            result, nested, _ = await solve(NestedExecutor(limits=limits))
            assert nested.status == "failed"
            assert f"the limit {which} ended the nested run after" in nested.text
            assert result.answer == "outer 42"

    async def test_its_stages_are_its_own(self) -> None:
        def plans_for_ever(context: str) -> str | Reply:
            if not context.startswith(f"<Question>\n{INNER}\n") or execution_of(context):
                return script(context)
            if context.endswith("<Final_answer>\n"):
                return "\\boxed{forced}\n</Final_answer>"
            return plan("again", stage=context.count("<Execution_") + 1)

        engine = ScriptedEngine(plans_for_ever)
        nested = NestedExecutor(limits=Limits(stages=3))
        agent = Sprint(engine, executors=[nested], limits=Limits(stages=2))
        result = await agent.solve("What?")
        assert result.stages[0].executions[0].text == "forced"
        assert result.answer == "outer 42"

    async def test_it_knows_its_own_executors_alone(self) -> None:
        _, nested, engine = await solve(NestedExecutor(), work)
        assert nested.text == "inner 42"
        assert any("no executor named 'work'" in engine.prompt_text(r) for r in engine.requests)

    async def test_its_stage_may_end_at_the_first_success(self) -> None:
        @executor
        async def work(prompt: str) -> str:
            await anyio.sleep_forever()
            return prompt

        join = first_success(lambda execution: execution.number == 1)
        _, nested, _ = await solve(NestedExecutor(executors=[work], join=join))
        assert nested.text == "inner 42"

    async def test_what_it_raises_is_a_failed_execution(self) -> None:
        def refuses(context: str) -> str | Reply:
            if context.startswith(f"<Question>\n{INNER}\n"):
                return "<Plan_1>\n<prompt_1.1> never closed </Plan_1>"
            return script(context)

        agent = Sprint(ScriptedEngine(refuses), executors=[NESTED])
        result = await agent.solve("What?")
        nested, other = result.stages[0].executions
        assert (nested.error or "").startswith("PlanError: ")
        assert other.status == "done"
        assert nested.usage.completion_tokens > 0


class TestShares:
    async def test_it_counts_as_its_execution(self) -> None:
        result, nested, _ = await solve(NESTED)
        alone = await Sprint(ScriptedEngine(script), executors=[work]).solve(INNER)
        assert nested.usage.completion_tokens == alone.usage.completion_tokens
        assert nested.usage.prompt_tokens == alone.usage.prompt_tokens
        assert nested.sequential_tokens == alone.usage.sequential_tokens
        assert nested.sequential_tokens < nested.usage.completion_tokens
        (stage,) = result.stages
        assert stage.sequential_tokens == stage.prompts[0].tokens + nested.sequential_tokens

    @pytest.mark.parametrize("dispatch", ["stage", "tag"])
    async def test_with_one_place_the_critical_path_is_nearly_all(self, dispatch: Dispatch) -> None:
        def twice(context: str) -> str:
            said = script(context)
            return plan(*[f"solve: {INNER}"] * 2) if said == OUTER_PLAN else said

        agent = Sprint(
            ScriptedEngine(twice),
            executors=[NestedExecutor()],
            limits=Limits(concurrency=1),
            dispatch=dispatch,
        )
        result = await agent.solve("What?")
        (stage,) = result.stages
        beside = len(answer("inner 42"))
        if dispatch == "tag":
            # The planners go on writing while their first executions are at work.
            written = [stage.usage.completion_tokens - stage.prompts[0].tokens]
            inner = await agent.solve(INNER)
            rest = inner.stages[0].usage.completion_tokens - inner.stages[0].prompts[0].tokens
            assert result.usage.completion_tokens - result.usage.sequential_tokens > 0
            beside += written[0] + 2 * rest
            assert result.usage.completion_tokens - result.usage.sequential_tokens <= beside
        else:
            # The first one's planner answers while the second one has the place.
            assert result.usage.completion_tokens - result.usage.sequential_tokens == beside

    @pytest.mark.parametrize("stages", [1, 2])
    async def test_a_wait_in_between_is_on_the_critical_path(self, stages: int) -> None:
        """The other execution gets the place in between, and is longer than what is written then."""

        def waits(context: str) -> str | Reply:
            inside = context.startswith(f"<Question>\n{INNER}\n")
            ended = context.count("</Execution_")
            if execution_of(context):
                return f"{'short' if inside else 'long ' * 30}\n</execution_"
            return plan("a", stage=ended + 1) if inside and ended < stages else script(context)

        first = first_success(lambda execution: execution.executor == "solve")
        engine = ScriptedEngine(waits)
        places = Limits(concurrency=1)
        agent = Sprint(engine, executors=[NESTED], limits=places, dispatch="stage", join=first)
        result = await agent.solve("What?")
        alone = await agent.solve(INNER)
        beside = alone.answer_usage if stages == 1 else alone.stages[1].usage
        assert (accepted := result.stages[0].accepted)
        assert accepted.number == 1
        assert result.stages[0].executions[1].status == "done"
        assert (
            result.usage.completion_tokens - result.usage.sequential_tokens
            == beside.completion_tokens
        )

    async def test_no_more_tokens_are_generated_than_the_run_s_budget_has(self) -> None:
        result, _, _ = await solve(NESTED)
        whole = result.usage.completion_tokens
        for budget in range(1, whole + 20, 9):
            agent = Sprint(ScriptedEngine(script), executors=[NESTED])
            result = await agent.solve("What?", limits=Limits(tokens=budget))
            assert result.usage.completion_tokens <= budget
            assert (result.limit == "tokens") == (result.answer is None)
        assert result.answer == "outer 42"

    async def test_the_run_s_deadline_ends_it(self) -> None:
        def hangs(context: str) -> str | Reply:
            inside = context.startswith(f"<Question>\n{INNER}\n")
            return Reply("part", hang=True) if inside and execution_of(context) else script(context)

        engine = ScriptedEngine(hangs)
        limits = Limits(deadline=1.0)
        result = await Sprint(engine, executors=[NESTED], limits=limits).solve("What?")
        assert result.limit == "deadline"
        nested = result.stages[0].executions[0]
        assert nested.status == "stopped"
        # What it had generated by then counts, though it came to no result.
        assert nested.usage.completion_tokens > len(plan("a", "work: b"))
        assert engine.in_flight == 0

    @pytest.mark.parametrize("places", [1, 2])
    async def test_its_executions_take_the_run_s_places(self, places: int) -> None:
        running = most = 0

        @executor
        async def counted(prompt: str) -> str:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await anyio.wait_all_tasks_blocked()
            running -= 1
            return prompt

        def deep(context: str) -> str:
            question = context.split("\n")[1]
            if "<Execution_1>" in context:
                return answer(question)
            inner = [] if question == "depth 2" else [f"solve: depth {int(question[-1]) + 1}"]
            return plan(*inner, "counted: a", "counted: b")

        nested = NestedExecutor(executors=[counted, NestedExecutor(executors=[counted])])
        agent = Sprint(
            ScriptedEngine(deep), executors=[counted, nested], limits=Limits(concurrency=places)
        )
        with anyio.fail_after(20):
            result = await agent.solve("depth 0")
        executions = result.stages[0].executions
        assert [e.text for e in executions] == ["depth 1", "a", "b"]
        assert most == places

    async def test_it_is_named_after_the_run_around_it(self) -> None:
        runs: list[str] = []

        @executor
        async def outer(task: Task) -> str:
            runs.append(task.run)
            return (await task.solve(INNER, executors=[named])).answer or ""

        @executor
        async def named(task: Task) -> str:
            runs.append(task.run)
            return ""

        agent = Sprint(ScriptedEngine(_work_is("outer", "named")), executors=[outer])
        await agent.solve("What?")
        assert runs[1] == f"{runs[0]}/1.1"

    async def test_the_run_s_events_are_its_own(self) -> None:
        agent = Sprint(ScriptedEngine(script), executors=[NESTED])
        async with agent.stream("What?") as run:
            seen = [event async for event in run]
        ready = [event.text for event in seen if isinstance(event, PromptReady)]
        assert ready == [INNER, "other"]
        assert sum(isinstance(event, RunStarted) for event in seen) == 1

    async def test_an_executor_may_solve_several_questions_side_by_side(self) -> None:
        @executor
        async def twice(task: Task) -> str:
            async with anyio.create_task_group() as group:
                for _ in range(2):
                    group.start_soon(ask, task)
            return "both"

        async def ask(task: Task) -> None:
            assert (await task.solve(INNER, executors=[work])).answer == "inner 42"

        engine = ScriptedEngine(_work_is("twice", "work"))
        agent = Sprint(engine, executors=[twice], limits=Limits(concurrency=1))
        with anyio.fail_after(20):
            result = await agent.solve("What?")
        alone = await Sprint(ScriptedEngine(script), executors=[work]).solve(INNER)
        both = result.stages[0].executions[0]
        assert both.usage.completion_tokens == 2 * alone.usage.completion_tokens


def _work_is(outside: str, inside: str) -> Script:
    def named(context: str) -> str:
        said = script(context)
        return said.replace('"solve"', f'"{outside}"').replace('"work"', f'"{inside}"')

    return named
