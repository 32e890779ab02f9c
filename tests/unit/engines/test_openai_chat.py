"""Whole runs on an untrained chat model that is prompted into the protocol."""

from __future__ import annotations

import re

import pytest

from sprint_agent import Result, Sprint, executor
from sprint_agent.engine import ExecutorCard
from sprint_agent.errors import PlanError
from sprint_agent.events import PlanRepaired
from sprint_agent.testing import ScriptedEngine
from tests.script import Scripted, answer, plan
from tests.unit.engines.fake_openai import Body, ResponseWriter, Server, chunk, generates, serving

QUESTION = "What are 3 + 5 and 8 * 7?"
A, B = "<prompt_1.1> a </prompt_1.1>\n", "<prompt_1.2> b </prompt_1.2>\n"
PLAN = f"<Plan_1>\n{A}{B}</Plan_1>"


class Model:
    """A chat model that plans, does its tasks, and answers, each with `frame` around it."""

    def __init__(self, *turns: str, frame: str = "{}") -> None:
        self.turns = list(turns)
        self.frame = frame

    async def __call__(self, server: Server, response: ResponseWriter, body: Body) -> None:
        task = re.search(r"Your task:\n(.*)\Z", body["messages"][-1]["content"], re.DOTALL)
        text = f"did {task[1]}" if task else self.frame.format(self.turns.pop(0))
        await generates(text)(server, response, body)


@executor
async def shout(prompt: str) -> str:
    """Says it louder."""
    return prompt.upper()


async def solved(model: Model) -> tuple[Result, list[Body]]:
    async with serving(model) as server, Sprint(server.engine("chat"), executors=[shout]) as agent:
        return await agent.solve(QUESTION), server.requests


@pytest.mark.anyio
@pytest.mark.parametrize("frame", ["{}", "```\n{}\n```", "<think>\nhm</think>\nWell:\n{}"])
async def test_a_run(frame: str) -> None:
    result, requests = await solved(Model(plan("a", "shout: b"), answer("4"), frame=frame))
    assert result.answer == "4"
    (stage,) = result.stages
    assert [e.text for e in stage.executions] == ["did a", "B"]
    assert [e.executor for e in stage.executions] == ["model", "shout"]
    planner = [body for body in requests if "Your task" not in body["messages"][-1]["content"]]
    assert "- shout: Says it louder." in planner[0]["messages"][0]["content"]
    assert "did a" in planner[1]["messages"][-1]["content"]
    assert planner[1]["messages"][:2] == planner[0]["messages"]
    assert stage.usage.completion_tokens >= len(plan("a", "shout: b"))


@pytest.mark.anyio
async def test_a_reply_without_a_tag_is_followed_by_a_request_for_the_answer() -> None:
    result, requests = await solved(Model("I think that it is 4.", "\\boxed{4}"))
    assert (result.answer, result.stages) == ("4", ())
    assert requests[1]["messages"][-2]["content"] == "I think that it is 4."


@pytest.mark.anyio
async def test_a_malformed_plan_is_repaired_with_a_complaint() -> None:
    result, requests = await solved(Model("<prompt_1.1> a </prompt_1.1>", plan("a"), answer("4")))
    assert result.answer == "4"
    assert "outside of a plan" in requests[1]["messages"][-1]["content"]
    assert "outside of a plan" not in requests[-1]["messages"][-1]["content"]


@pytest.mark.anyio
async def test_a_plan_that_broke_off_and_begins_again_repeats_no_task() -> None:
    broken = f"<Plan_1>\n{A}<prompt_1.2> b"
    result, _ = await solved(Model(broken, PLAN, answer("4")))
    assert result.answer == "4"
    assert [e.text for e in result.stages[0].executions] == ["did a", "did b"]


@pytest.mark.anyio
async def test_a_model_that_never_follows_the_tags() -> None:
    model = Model("<prompt_1.1> a </prompt_1.1>", "<prompt_1.1> a </prompt_1.1>")
    async with serving(model) as server, Sprint(server.engine("chat")) as agent:
        with pytest.raises(PlanError, match="outside of a plan"):
            await agent.solve(QUESTION)


@pytest.mark.anyio
async def test_an_executor_that_the_model_refuses_fails_alone() -> None:
    async def behave(server: Server, response: ResponseWriter, body: Body) -> None:
        if body["messages"][-1]["content"].endswith("Your task:\nb"):
            await response.start_stream()
            await response.send_event(chunk(body, None, "content_filter"))
            await response.end_stream()
        else:
            await model(server, response, body)

    model = Model(plan("a", "b"), answer("4"))
    async with serving(behave) as server, Sprint(server.engine("chat")) as agent:
        result = await agent.solve(QUESTION)
    assert result.answer == "4"
    done, failed = result.stages[0].executions
    assert (done.status, failed.status) == ("done", "failed")
    assert "content filter" in failed.text


@pytest.mark.anyio
async def test_a_trained_model_continues_the_text() -> None:
    """Mode "completions" through a whole run: prompts are the run's text, character for character."""
    engine = ScriptedEngine(Scripted([plan("a"), answer("4")]), tokenizer=None)
    expected = await Sprint(engine).solve(QUESTION)

    async def behave(server: Server, response: ResponseWriter, body: Body) -> None:
        text = script(body["prompt"])
        assert isinstance(text, str)
        await generates(text)(server, response, body)

    script = Scripted([plan("a"), answer("4")])
    async with serving(behave) as server, Sprint(server.engine()) as agent:
        result = await agent.solve(QUESTION)
    assert (result.answer, result.text) == ("4", expected.text)
    assert [body["prompt"] for body in server.requests] == [r.prompt for r in engine.requests]


@pytest.mark.anyio
async def test_requests_contain_the_executors_and_the_complaint() -> None:
    engine = ScriptedEngine(Scripted(["<prompt_1.1> a </prompt_1.1>", plan("a"), answer("4")]))
    repaired: list[str] = []
    async with Sprint(engine, executors=[shout]) as agent, agent.stream(QUESTION) as run:
        async for event in run:
            if isinstance(event, PlanRepaired):
                repaired.append(event.reason)
    first, second, *_, last = engine.requests
    assert first.executors == (ExecutorCard("shout", "Says it louder."),)
    assert (first.complaint, second.complaint, last.complaint) == (None, repaired[0], None)
