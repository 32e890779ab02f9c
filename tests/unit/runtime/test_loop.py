"""The planning loop: what starts when, what joins in which order, and how a run ends."""

from __future__ import annotations

import anyio.lowlevel
import pytest

from sprint_agent import (
    Execution,
    ExecutionStarted,
    LimitReached,
    Limits,
    PlanError,
    PlanRepaired,
    PromptReady,
    PromptRenumbered,
    QuestionError,
    RunEnded,
    Sampling,
    Sprint,
    StageEnded,
    Task,
    events,
    executor,
    first_success,
)
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import parse_unfinished
from sprint_agent.result import Verdict
from sprint_agent.testing import Reply, ScriptedEngine
from tests.script import Scripted, answer, execution_of, plan

pytestmark = pytest.mark.anyio


async def watch(agent: Sprint, question: str = "What?") -> list[events.Event]:
    async with agent.stream(question) as run:
        return [event async for event in run]


async def test_a_question_is_planned_executed_and_answered() -> None:
    engine = ScriptedEngine(Scripted([plan("one", "two"), answer("3")]))
    result = await Sprint(engine).solve("What?")
    assert result.answer == "3"
    (stage,) = result.stages
    assert [prompt.text for prompt in stage.prompts] == ["one", "two"]
    assert [e.text for e in stage.executions] == ["did 1.1\n", "did 1.2\n"]
    assert engine.in_flight == 0


async def test_executors_start_at_the_closing_tag_while_the_planner_writes() -> None:
    engine = ScriptedEngine(Scripted([plan("one", "two"), answer("3")]))
    seen = await watch(Sprint(engine))
    kinds = [type(event) for event in seen]
    started = kinds.index(ExecutionStarted)
    ready = [k for k, kind in enumerate(kinds) if kind is PromptReady]
    assert started < ready[1]


async def test_with_dispatch_by_stage_executors_wait_for_the_plan() -> None:
    engine = ScriptedEngine(Scripted([plan("one", "two"), answer("3")]))
    seen = await watch(Sprint(engine, dispatch="stage"))
    kinds = [type(event) for event in seen]
    assert kinds.index(ExecutionStarted) > max(
        k for k, event in enumerate(seen) if isinstance(event, events.PlanText) and event.stage == 1
    )


async def test_an_executor_sees_the_plan_up_to_its_own_prompt_and_no_sibling() -> None:
    engine = ScriptedEngine(Scripted([plan("one", "two"), answer("3")]))
    result = await Sprint(engine).solve("What?")
    prompts = [engine.prompt_text(request) for request in engine.requests]
    first, second = (p for p in prompts if execution_of(p))
    assert first.endswith("<prompt_1.1> one </prompt_1.1>\n<execution_1.1>\n")
    assert second.endswith("<prompt_1.2> two </prompt_1.2>\n<execution_1.2>\n")
    assert "did" not in second
    head = first.removesuffix("\n<execution_1.1>\n")
    assert result.text.startswith(head)
    assert second.startswith(head)


@pytest.mark.parametrize("chunk", [2, 7, 1000])
async def test_contexts_do_not_depend_on_how_the_engine_cuts_its_stream(chunk: int) -> None:
    def asked(engine: ScriptedEngine) -> set[tuple[int, ...] | str]:
        return {request.prompt for request in engine.requests}

    engines = [
        ScriptedEngine(Scripted([plan("one", "two"), answer("3")]), chunk=c) for c in (1, chunk)
    ]
    texts = [(await Sprint(engine).solve("What?")).text for engine in engines]
    assert texts[0] == texts[1]
    assert asked(engines[0]) == asked(engines[1])


async def test_results_join_in_prompt_order_whatever_ends_first() -> None:
    executions: dict[tuple[int, int], str | Reply] = {
        (1, 1): Reply("slow\n</execution_", delay=0.01)
    }
    engine = ScriptedEngine(Scripted([plan("one", "two"), answer("3")], executions))
    result = await Sprint(engine).solve("What?")
    first, second = result.stages[0].executions
    assert first.ended > second.ended
    assert result.text.index("slow") < result.text.index("did 1.2")


async def test_the_first_success_ends_the_stage_and_stops_the_rest() -> None:
    executions: dict[tuple[int, int], str | Reply] = {(1, 1): Reply("never", hang=True)}
    turns: list[str | Reply] = [plan("one", "two", "three"), answer("3")]
    engine = ScriptedEngine(Scripted(turns, executions))
    join = first_success(lambda execution: "1.2" in execution.text)
    result = await Sprint(engine, join=join, dispatch="stage").solve("What?")
    (stage,) = result.stages
    assert stage.accepted
    assert stage.accepted.number == 2
    assert [e.status for e in stage.executions][:2] == ["stopped", "done"]
    assert "<execution_1.1>\nStopped.\n</execution_1.1>" in result.text
    assert "<execution_1.2 accepted>\ndid 1.2" in result.text
    assert result.text.count("accepted") == 1
    assert engine.in_flight == 0


async def test_a_success_cuts_the_plan_behind_its_last_closed_prompt() -> None:
    unfinished = plan("one").removesuffix("\n</Plan_1>") + "\n-----\n<prompt_1.2> not yet"
    engine = ScriptedEngine(Scripted([Reply(unfinished, hang=True), answer("3")]))
    result = await Sprint(engine, join=first_success(lambda _: True)).solve("What?")
    (stage,) = result.stages
    assert stage.plan == "<Plan_1>\n<prompt_1.1> one </prompt_1.1>"
    assert "not yet" not in result.text
    assert "</prompt_1.1>\n</Plan_1>\n\n<Execution_1>\n" in result.text
    assert engine.in_flight == 0


async def test_a_check_says_what_it_found() -> None:
    def check(execution: Execution) -> bool | str:
        return "the\nanswer is <Plan_2> 5" if "1.2" in execution.text else False

    engine = ScriptedEngine(Scripted([plan("one", "two"), answer("5")]))
    result = await Sprint(engine, join=first_success(check)).solve("What?")
    assert result.stages[0].verdict == Verdict(2, "the\nanswer is <Plan_2> 5")
    said = "</execution_1.2>\nAccepted: the answer is &lt;Plan_2> 5\n</Execution_1>\n"
    assert said in result.text
    assert parse_unfinished(result.text).stages[0].verdict == Verdict(
        2, "the answer is &lt;Plan_2> 5"
    )


@pytest.mark.parametrize(("said", "accepted"), [("", 1), (True, 1), (False, None)])
async def test_an_empty_text_accepts(said: bool | str, accepted: int | None) -> None:
    engine = ScriptedEngine(Scripted([plan("one"), answer("5")]))
    result = await Sprint(engine, join=first_success(lambda _: said)).solve("What?")
    assert result.stages[0].verdict == Verdict(accepted, "")
    assert "Accepted: " not in result.text


async def test_a_check_that_accepts_nothing_lets_the_stage_run_to_its_end() -> None:
    engine = ScriptedEngine(Scripted([plan("one", "two"), answer("3")]))
    result = await Sprint(engine, join=first_success(lambda _: False)).solve("What?")
    assert [e.status for e in result.stages[0].executions] == ["done", "done"]
    assert result.stages[0].accepted is None
    assert f"</execution_1.2>\n{tags.NONE_ACCEPTED}</Execution_1>" in result.text
    unchecked = await Sprint(ScriptedEngine(Scripted([plan("one"), answer("3")]))).solve("What?")
    assert "accepted" not in unchecked.text


async def test_what_a_check_raises_ends_the_run_as_it_is() -> None:
    def check(execution: Execution) -> bool:
        raise KeyError("mine")

    engine = ScriptedEngine(Scripted([plan("one", "two"), answer("3")]))
    with pytest.raises(KeyError, match="mine"):
        await Sprint(engine, join=first_success(check)).solve("What?")
    assert engine.in_flight == 0


async def test_the_last_stage_is_made_to_answer() -> None:
    turns: list[str | Reply] = [
        plan("a", stage=1),
        plan("b", stage=2),
        "\\boxed{7}\n</Final_answer>",
    ]
    engine = ScriptedEngine(Scripted(turns))
    result = await Sprint(engine, limits=Limits(stages=3)).solve("What?")
    assert result.answer == "7"
    assert len(result.stages) == 2
    assert engine.prompt_text(engine.requests[-1]).endswith("<Final_answer>\n")


async def test_there_are_twelve_turns_at_most() -> None:
    engine = ScriptedEngine(
        lambda prompt: (
            "x\n</execution_"
            if execution_of(prompt)
            else "\\boxed{7}\n</Final_answer>"
            if prompt.endswith("<Final_answer>\n")
            else plan("again", stage=prompt.count("<Execution_") + 1)
        )
    )
    result = await Sprint(engine).solve("What?")
    assert len(result.stages) == 11
    assert result.answer == "7"


async def test_a_turn_without_plan_or_answer_is_followed_by_a_forced_answer() -> None:
    turns: list[str | Reply] = ["I only thought.", "\\boxed{5}\n</Final_answer>"]
    engine = ScriptedEngine(Scripted(turns))
    result = await Sprint(engine).solve("What?")
    assert result.answer == "5"
    assert result.stages == ()


async def test_a_plan_without_prompts_says_so_in_the_context() -> None:
    engine = ScriptedEngine(Scripted(["<Plan_1>\nhm\n</Plan_1>", answer("1")]))
    result = await Sprint(engine).solve("What?")
    assert "There is no prompt to execute." in result.text
    assert result.stages[0].executions == ()


async def test_wrong_prompt_numbers_are_put_in_order_and_reported() -> None:
    text = (
        "<Plan_1>\n<prompt_1.2> one </prompt_1.2>\n<prompt_1.2> two </prompt_1.2>\n"
        "<prompt_3.1> three </prompt_3.1>\n</Plan_1>"
    )
    engine = ScriptedEngine(Scripted([text, answer("1")]))
    seen = await watch(Sprint(engine))
    renumbered = [(e.number, e.written) for e in seen if isinstance(e, PromptRenumbered)]
    assert renumbered == [(1, (1, 2)), (3, (3, 1))]
    (ended,) = (e for e in seen if isinstance(e, StageEnded))
    assert [e.number for e in ended.stage.executions] == [1, 2, 3]
    assert [e.status for e in ended.stage.executions] == ["done"] * 3


async def test_a_malformed_plan_is_repaired_once_and_keeps_its_good_prompts() -> None:
    broken = "<Plan_1>\n<prompt_1.1> one </prompt_1.1>\n<prompt_1.2> two </Plan_1>"
    rest = "\n<prompt_1.2> two </prompt_1.2>\n</Plan_1>"
    engine = ScriptedEngine(Scripted([broken, rest, answer("1")]))
    seen = await watch(Sprint(engine, sampling=Sampling(temperature=0.0)))
    assert sum(isinstance(e, PlanRepaired) for e in seen) == 1
    result = seen[-1]
    assert isinstance(result, RunEnded)
    (stage,) = result.result.stages
    assert [prompt.text for prompt in stage.prompts] == ["one", "two"]
    planner = [r for r in engine.requests if not execution_of(engine.prompt_text(r))]
    assert engine.prompt_text(planner[1]).endswith("<prompt_1.1> one </prompt_1.1>")
    assert planner[1].sampling.temperature > 0
    # What was thrown away was generated all the same.
    assert stage.usage.completion_tokens > len(stage.plan)


async def test_a_plan_that_stays_malformed_is_an_error() -> None:
    broken = "<Plan_1>\n<prompt_1.1> one </Plan_1>"
    engine = ScriptedEngine(Scripted([broken, broken]))
    with pytest.raises(PlanError, match="no closing tag"):
        await Sprint(engine).solve("What?")
    assert not any(execution_of(engine.prompt_text(r)) for r in engine.requests)


@pytest.mark.parametrize(
    ("context", "advice"), [(None, "raise max_tokens"), (100, "context of 100 ids is full")]
)
async def test_a_plan_that_is_cut_off_never_runs_its_open_prompt(
    context: int | None, advice: str
) -> None:
    engine = ScriptedEngine(
        Scripted([f"<Plan_1>\n<prompt_1.1> {'o' * 99}"] * 2), context_length=context
    )
    with pytest.raises(PlanError, match=rf"cut off.*{advice}"):
        await Sprint(engine, sampling=Sampling(max_tokens=80)).solve("What?")
    assert len(engine.requests) == 2


@pytest.mark.parametrize("question", ["", "  \n"])
async def test_an_empty_question_is_refused(question: str) -> None:
    with pytest.raises(QuestionError, match="empty"):
        await Sprint(ScriptedEngine(Scripted([]))).solve(question)


async def test_an_engine_without_ids_gets_text() -> None:
    engine = ScriptedEngine(Scripted([plan("one", "two"), answer("3")]), tokenizer=None)
    result = await Sprint(engine).solve("What?")
    assert result.answer == "3"
    assert all(isinstance(request.prompt, str) for request in engine.requests)
    assert result.usage.completion_tokens > 0


async def test_runs_with_a_seed_give_each_call_its_own() -> None:
    def requests(seed: int) -> list[int | None]:
        return [request.sampling.seed for request in engines[seed].requests]

    engines = {s: ScriptedEngine(Scripted([plan("a", "b"), answer("3")])) for s in (1, 2)}
    for seed, engine in engines.items():
        await Sprint(engine, sampling=Sampling(seed=seed)).solve("What?")
    assert len(set(requests(1))) == len(requests(1))
    assert set(requests(1)).isdisjoint(requests(2))


async def test_errors_raised_while_watching_come_out_as_they_are() -> None:
    async def watch_and_fail() -> None:
        async with Sprint(engine).stream("What?") as run:
            async for _ in run:
                raise ZeroDivisionError

    engine = ScriptedEngine(Scripted([plan("one"), answer("3")]))
    with pytest.raises(ZeroDivisionError):
        await watch_and_fail()
    assert engine.in_flight == 0


async def test_the_run_hands_on_its_own_errors() -> None:
    async with Sprint(ScriptedEngine(Scripted([]))).stream("") as run:
        with pytest.raises(QuestionError):
            await run.result()


async def test_leaving_early_ends_the_run() -> None:
    engine = ScriptedEngine(Scripted([Reply("thinking", hang=True)]))
    async with Sprint(engine).stream("What?") as run:
        async for event in run:
            if isinstance(event, events.PlanText):
                break
    assert engine.in_flight == 0


class TestLimits:
    async def test_the_deadline_hands_back_what_was_finished(self) -> None:
        executions: dict[tuple[int, int], str | Reply] = {(1, 2): Reply("never", hang=True)}
        engine = ScriptedEngine(Scripted([plan("one", "two")], executions))
        result = await Sprint(engine, limits=Limits(deadline=0.2)).solve("What?")
        assert result.limit == "deadline"
        assert result.answer is None
        assert [e.status for e in result.stages[0].executions] == ["done", "stopped"]
        assert engine.in_flight == 0
        with pytest.raises(LimitReached) as caught:
            result.raise_for_limit()
        assert caught.value.result is result

    async def test_no_more_tokens_are_generated_than_the_budget_has(self) -> None:
        for budget in range(1, 220, 7):
            engine = ScriptedEngine(Scripted([plan("one", "two"), answer("3")]))
            result = await Sprint(engine, limits=Limits(tokens=budget)).solve("What?")
            assert result.usage.completion_tokens <= budget
            assert (result.limit == "tokens") == (result.answer is None)

    async def test_concurrency_bounds_the_executions_at_a_time(self) -> None:
        running = most = 0

        @executor
        async def work(prompt: str) -> str:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await anyio.lowlevel.checkpoint()
            running -= 1
            return prompt

        tasks = [f"work: {k}" for k in range(8)]
        engine = ScriptedEngine(Scripted([plan(*tasks), answer("3")]))
        limits = Limits(concurrency=3)
        agent = Sprint(engine, executors=[work], limits=limits, dispatch="stage")
        result = await agent.solve("What?")
        assert most == 3
        assert all(e.status == "done" for e in result.stages[0].executions)

    async def test_one_at_a_time_every_token_is_sequential(self) -> None:
        turns: list[str | Reply] = [plan("one", "two", "three"), answer("3")]
        engine = ScriptedEngine(Scripted(turns))
        agent = Sprint(engine, limits=Limits(concurrency=1), dispatch="stage")
        usage = (await agent.solve("What?")).usage
        assert usage.sequential_tokens == usage.completion_tokens

    async def test_a_question_may_have_limits_of_its_own(self) -> None:
        engine = ScriptedEngine(lambda prompt: plan("one"))
        agent = Sprint(engine, limits=Limits(stages=5))
        assert len((await agent.solve("What?", limits=Limits(stages=2))).stages) == 1
        async with agent.stream("What?", limits=Limits(stages=3)) as run:
            assert len((await run.result()).stages) == 2
        assert len((await agent.solve("What?")).stages) == 4

    @pytest.mark.parametrize("name", ["deadline", "tokens", "stages", "concurrency"])
    def test_a_limit_must_be_positive(self, name: str) -> None:
        with pytest.raises(ValueError, match=name):
            Limits(**{name: 0})


class TestExecutors:
    async def solve(self, *executors: object, tasks: tuple[str, ...]) -> list[Execution]:
        engine = ScriptedEngine(Scripted([plan(*tasks), answer("3")]))
        agent = Sprint(engine, executors=executors)  # type: ignore[arg-type]
        result = await agent.solve("What?")
        assert result.answer == "3"
        return list(result.stages[0].executions)

    async def test_prompts_go_to_the_executor_they_name_and_else_to_the_model(self) -> None:
        @executor
        async def shout(prompt: str) -> str:
            return prompt.upper()

        first, second = await self.solve(shout, tasks=("shout: hey", "hey"))
        assert (first.executor, first.text) == ("shout", "HEY")
        assert (second.executor, second.text) == ("model", "did 1.2\n")

    async def test_an_executor_that_raises_is_a_failed_execution(self) -> None:
        @executor
        async def broken(prompt: str) -> str:
            raise RuntimeError("no\nluck")

        first, second = await self.solve(broken, tasks=("broken: x", "y"))
        assert first.status == "failed"
        assert first.error == "RuntimeError: no luck"
        assert first.text == "Failed: RuntimeError: no luck\n"
        assert second.status == "done"

    async def test_an_unknown_executor_is_a_failed_execution(self) -> None:
        (first,) = await self.solve(tasks=("nobody: x",))
        assert first.status == "failed"
        assert "no executor named 'nobody'; there are: model" in (first.error or "")

    async def test_what_is_neither_text_nor_json_is_a_failed_execution(self) -> None:
        @executor
        async def thing(prompt: str) -> object:
            return object()

        (first,) = await self.solve(thing, tasks=("thing: x",))
        assert first.status == "failed"
        assert "returned object, which cannot be written" in (first.error or "")

    async def test_a_megabyte_is_clipped(self) -> None:
        @executor
        async def chatty(prompt: str) -> str:
            return "x" * 1_000_000

        (first,) = await self.solve(chatty, tasks=("chatty: x",))
        assert first.status == "done"
        assert len(first.text) < 40_000
        assert first.text.endswith("more left out]")

    async def test_an_executor_may_call_the_model_and_pays_for_it(self) -> None:
        @executor
        async def thinker(task: Task) -> str:
            """Thinks, then says."""
            generated = await task.generate()
            return f"I thought: {generated.text}"

        assert thinker.description == "Thinks, then says."
        (first,) = await self.solve(thinker, tasks=("thinker: x",))
        assert first.text == "I thought: did 1.1\n"
        assert first.usage.completion_tokens > 0

    def test_two_executors_of_one_name_are_refused(self) -> None:
        @executor
        async def same(prompt: str) -> str:
            return prompt

        with pytest.raises(ValueError, match="same"):
            Sprint(ScriptedEngine(Scripted([])), executors=[same, same])


@pytest.mark.parametrize(("stages", "turns"), [(None, 12), (20, 20), (3, 3)])
async def test_the_last_turn_that_the_limit_on_stages_allows_must_answer(
    stages: int | None, turns: int
) -> None:
    """A call that sets no limit on stages keeps the agent's."""

    def script(prompt: str) -> str:
        if prompt.endswith("<Final_answer>\n"):
            return "\\boxed{1}\n</Final_answer>"
        if execution_of(prompt):
            return "did it\n"
        return plan("one", stage=prompt.count("</Execution_") + 1)

    engine = ScriptedEngine(script)
    agent = Sprint(engine, limits=Limits(stages=stages))
    result = await agent.solve("What?", limits=Limits(deadline=60))
    assert len(result.stages) == turns - 1
