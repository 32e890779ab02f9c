"""An untrained chat model prompted into the protocol: what it is told, and how its replies are read."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprint_agent import Result, Sprint, executor
from sprint_agent.engine import ExecutorCard
from sprint_agent.engines.openai.chat_prompt import Conversation, conversation
from sprint_agent.engines.openai.chat_reply import ChatReader
from sprint_agent.errors import PlanError
from sprint_agent.events import PlanRepaired
from sprint_agent.protocol import tags
from sprint_agent.protocol.tags import EXECUTOR_STOPS, PLANNER_STOPS
from sprint_agent.protocol.transcript import StageText, Transcript
from sprint_agent.testing import ScriptedEngine
from tests.script import Scripted, answer, plan
from tests.unit.engines.fake_openai import Body, chunk, says, serving

QUESTION = "What are 3 + 5 and 8 * 7?"
OPENING = tags.opening(QUESTION)
TURN = "Two sums.\n<Plan_1>\n<prompt_1.1> 3 + 5 </prompt_1.1>\n<prompt_1.2> 8 * 7 </prompt_1.2>\n"
STAGE = StageText(TURN, ("8\n", "Failed: too hard\n"))
WHOLE = OPENING + TURN + "".join(p.text for p in tags.sync(1, TURN, STAGE.executions))
SEARCH = ExecutorCard("search", "Looks\n    something up.")


def roles(talk: Conversation) -> list[str]:
    return [message["role"] for message in talk.messages]


def contents(talk: Conversation) -> list[str]:
    return [message["content"] for message in talk.messages]


# --- what a model is told -----------------------------------------------------------------------


def test_any_other_text_is_one_message() -> None:
    talk = conversation("Hello", [SEARCH], "no")
    assert talk == Conversation(({"role": "user", "content": "Hello"},), "text")


def test_the_first_turn() -> None:
    talk = conversation(OPENING)
    assert (roles(talk), talk.due) == (["system", "user"], "turn")
    system, user = contents(talk)
    assert QUESTION in user
    for tag in ("<Plan_1>", "</Plan_1>", "<prompt_1.1>", "</prompt_1.1>", "<Final_answer>"):
        assert tag in system
    assert "executor=" not in system


def test_the_example_that_a_planner_is_shown_can_be_run() -> None:
    system = contents(conversation(OPENING))[0]
    example = re.search(r"<Plan_1>.*?</Plan_1>", system, re.DOTALL)
    assert example is not None
    parser = tags.TurnParser()
    kinds = [type(event) for event in parser.feed(example[0])]
    assert kinds == [tags.PromptClosed, tags.PromptClosed, tags.PlanClosed]


def test_executors_are_named_and_described() -> None:
    cards = [SEARCH, ExecutorCard("sum", "Adds.")]
    system = contents(conversation(OPENING, cards))[0]
    assert '<prompt_1.1 executor="search">' in system
    assert "- search: Looks something up.\n- sum: Adds." in system


def test_stages_become_turns_of_the_talk_that_only_grow() -> None:
    first, talk = conversation(OPENING), conversation(WHOLE)
    assert (roles(talk), talk.due) == (["system", "user", "assistant", "user"], "turn")
    assert talk.messages[:2] == first.messages
    turn, found = contents(talk)[2:]
    assert turn == f"{TURN}</Plan_1>"
    assert found.startswith("<Execution_1>\n<execution_1.1>\n8\n</execution_1.1>")
    assert "Failed: too hard" in found
    assert "<Plan_2>" in found
    further = conversation(WHOLE + WHOLE.removeprefix(OPENING).replace("_1", "_2"))
    assert further.messages[:4] == talk.messages
    assert len(further.messages) == 6


def test_a_talk_says_what_a_check_accepted() -> None:
    for accepted, said in (
        (1, "<execution_1.1 accepted>\n8\n"),
        (0, f"{tags.NONE_ACCEPTED}</Execution_1>"),
    ):
        stage = "".join(p.text for p in tags.sync(1, TURN, STAGE.executions, accepted))
        talk = conversation(OPENING + TURN + stage)
        assert said in contents(talk)[-1]
        assert contents(talk)[-1].count("accepted") == 1
    assert "accepted" not in contents(conversation(WHOLE))[-1]


def test_the_answer_can_be_made_to_come() -> None:
    for text in (OPENING, WHOLE):
        free, forced = conversation(text), conversation(text + tags.force_answer())
        assert forced.due == "answer"
        assert roles(forced) == roles(free)
        assert "no further plan" in contents(forced)[-1]
    forced = conversation(WHOLE + "I see.\n" + tags.force_answer())
    assert roles(forced)[-2:] == ["assistant", "user"]
    assert contents(forced)[-2] == "I see.\n"


def test_an_executor_gets_its_task_and_what_was_found() -> None:
    turn = (
        '<Plan_2>\n<prompt_2.1> other </prompt_2.1>\n<prompt_2.7 executor="x"> this </prompt_2.7>'
    )
    talk = conversation(WHOLE + turn + tags.execution_opening(2, 2), [SEARCH])
    assert (roles(talk), talk.due) == (["system", "user"], "execution")
    system, user = contents(talk)
    assert "<Plan" not in system
    assert user.endswith("Your task:\nthis")
    assert QUESTION in user
    assert "<execution_1.1>\n8\n</execution_1.1>" in user
    assert "other" not in user
    alone = conversation(OPENING + TURN + tags.execution_opening(1, 2))
    assert contents(alone)[1].endswith("Your task:\n8 * 7")
    assert "found so far" not in contents(alone)[1]


def test_what_broke_off_is_gone_on_with() -> None:
    talk = conversation(WHOLE + "<Plan_2>\n<prompt_2.1> a </prompt_2.1>\n<prompt_2.2> b")
    assert (roles(talk)[-2:], talk.due) == (["assistant", "user"], "rest")
    assert talk.done == "</prompt_2.1>"
    assert contents(talk)[-2].endswith("<prompt_2.2> b")
    assert "Go on" in contents(talk)[-1]
    assert conversation(OPENING + "<Plan_1>\n").done is None
    begun = conversation(OPENING + TURN + tags.execution_opening(1, 2) + "8 * 7 is")
    assert (roles(begun)[2:], begun.due) == (["assistant", "user"], "execution")
    assert contents(begun)[2] == "8 * 7 is"


def test_a_complaint_is_told_last() -> None:
    for text in (OPENING, WHOLE, OPENING + "<Plan_1>\n"):
        talk = conversation(text, (), "a prompt has no closing tag")
        assert roles(talk)[-1] == "user"
        assert "a prompt has no closing tag" in contents(talk)[-1]


# --- how a reply is read ------------------------------------------------------------------------

FREE = conversation(OPENING)
FORCED = conversation(OPENING + tags.force_answer())
TASK = conversation(OPENING + TURN + tags.execution_opening(1, 2))
BROKEN = conversation(OPENING + "<Plan_1>\n<prompt_1.1> a </prompt_1.1>")
OPENED = conversation(OPENING + "<Plan_1>\n")
TEXT = conversation("Hello")

A, B = "<prompt_1.1> a </prompt_1.1>\n", "<prompt_1.2> b </prompt_1.2>\n"
PLAN = f"<Plan_1>\n{A}{B}</Plan_1>"

REPLIES: list[tuple[Conversation, str, str, str | None]] = [
    # a plan, alone and with what may stand around it
    (FREE, PLAN, f"<Plan_1>\n{A}{B}", "</Plan_"),
    (FREE, f"Let me see.\n{PLAN}\nThen", f"Let me see.\n<Plan_1>\n{A}{B}", "</Plan_"),
    (FREE, f"```xml\n{PLAN}\n```", f"<Plan_1>\n{A}{B}", "</Plan_"),
    (FREE, f"So:\n\n```\n{PLAN}\n```", f"So:\n\n<Plan_1>\n{A}{B}", "</Plan_"),
    (FREE, f"<think>a <Plan_1> b</think>\n\n{PLAN}", f"<Plan_1>\n{A}{B}", "</Plan_"),
    (FREE, f"\n<think>\n</think>\n<think>x</think>{PLAN}", f"<Plan_1>\n{A}{B}", "</Plan_"),
    (FREE, f"thought</think>{PLAN}", f"thought<Plan_1>\n{A}{B}", "</Plan_"),
    (FREE, "<Plan_1>\n```py\n<prompt_1.1> x", "<Plan_1>\n```py\n<prompt_1.1> x", None),
    # no plan
    (FREE, "It is 4.", "It is 4.", None),
    (FREE, "", "", None),
    (FREE, "<think>for ever", "", None),
    (FREE, "<thin", "<thin", None),
    (FREE, answer("4"), "<Final_answer>\n\\boxed{4}\n", "</Final_answer>"),
    (FREE, A, A, None),
    (FREE, "a\n</Plan_1>", "a\n", "</Plan_"),
    # an answer that stands open already
    (FORCED, answer("4"), "\n\\boxed{4}\n", "</Final_answer>"),
    (FORCED, f"Sure.\n```\n{answer('4')}\n```", "\n\\boxed{4}\n", "</Final_answer>"),
    (FORCED, "\\boxed{4}\n</Final_answer> x", "\\boxed{4}\n", "</Final_answer>"),
    (FORCED, "<think>4?</think>\\boxed{4}", "\\boxed{4}", None),
    # an execution that stands open already
    (TASK, "It is <b>56</b>.", "It is <b>56</b>.", None),
    (TASK, "<b>56</b>", "<b>56</b>", None),
    (TASK, "<execution_1.2>\n56\n</execution_1.2>", "\n56\n", "</execution_"),
    (TASK, "<execution_1.2 accepted>\n56\n</execution_1.2>", "\n56\n", "</execution_"),
    (TASK, "<execution_1", "<execution_1", None),
    (TASK, "<think>7 * 8</think>56", "56", None),
    (TASK, "", "", None),
    # the rest of a plan
    (BROKEN, f"{B}</Plan_1>", B, "</Plan_"),
    (BROKEN, f"\nMore.\n{B}</Plan_1>", f"More.\n{B}", "</Plan_"),
    (BROKEN, PLAN, f"\n{B}", "</Plan_"),
    (BROKEN, f"Anew:\n```\n{PLAN}", f"\n{B}", "</Plan_"),
    (BROKEN, f"<Plan_1>\n{B}</Plan_1>", f"\n{B}", "</Plan_"),
    (BROKEN, "nothing more", "nothing more", None),
    (OPENED, PLAN, f"\n{A}{B}", "</Plan_"),
    (OPENED, f"{A}</Plan_1>", A, "</Plan_"),
    # any text
    (TEXT, f"```\n{PLAN}", f"```\n<Plan_1>\n{A}{B}", "</Plan_"),
    (TEXT, "<think>hm</think> so", "so", None),
]


def heard(talk: Conversation, pieces: list[str]) -> tuple[str, str | None]:
    stops = EXECUTOR_STOPS if talk.due == "execution" else PLANNER_STOPS
    reader = ChatReader(talk, stops)
    text = "".join([reader.feed(piece) for piece in pieces] + [reader.flush()])
    return text, reader.stop


@pytest.mark.parametrize(("talk", "reply", "text", "stop"), REPLIES)
def test_a_reply_goes_on_with_the_run(
    talk: Conversation, reply: str, text: str, stop: str | None
) -> None:
    assert heard(talk, [reply]) == (text, stop)
    assert heard(talk, list(reply)) == (text, stop)


@given(st.sampled_from(REPLIES), st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_how_a_reply_is_cut_does_not_matter(
    case: tuple[Conversation, str, str, str | None], sizes: list[int]
) -> None:
    talk, reply, text, stop = case
    pieces: list[str] = []
    while reply:
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(reply[:size])
        reply = reply[size:]
    assert heard(talk, pieces) == (text, stop)


def test_a_plan_is_told_while_it_is_written() -> None:
    reader = ChatReader(FREE, PLANNER_STOPS)
    assert reader.feed("```\n<think>") == ""
    assert reader.feed(f"<Plan_1>\n{A}") != ""
    assert reader.feed(B) == B


# --- whole runs ---------------------------------------------------------------------------------


class Model:
    """A chat model that plans, does its tasks, and answers, each with `frame` around it."""

    def __init__(self, *turns: str, frame: str = "{}") -> None:
        self.turns = list(turns)
        self.frame = frame

    async def __call__(self, server: object, reply: object, asked: Body) -> None:
        task = re.search(r"Your task:\n(.*)\Z", asked["messages"][-1]["content"], re.DOTALL)
        text = f"did {task[1]}" if task else self.frame.format(self.turns.pop(0))
        await says(text)(server, reply, asked)


@executor
async def shout(prompt: str) -> str:
    """Says it louder."""
    return prompt.upper()


async def solved(model: Model) -> tuple[Result, list[Body]]:
    async with serving(model) as server, Sprint(server.engine("chat"), executors=[shout]) as agent:
        return await agent.solve(QUESTION), server.asked


@pytest.mark.anyio
@pytest.mark.parametrize("frame", ["{}", "```\n{}\n```", "<think>\nhm</think>\nWell:\n{}"])
async def test_a_run(frame: str) -> None:
    result, asked = await solved(Model(plan("a", "shout: b"), answer("4"), frame=frame))
    assert result.answer == "4"
    (stage,) = result.stages
    assert [e.text for e in stage.executions] == ["did a", "B"]
    assert [e.executor for e in stage.executions] == ["model", "shout"]
    planner = [body for body in asked if "Your task" not in body["messages"][-1]["content"]]
    assert "- shout: Says it louder." in planner[0]["messages"][0]["content"]
    assert "did a" in planner[1]["messages"][-1]["content"]
    assert planner[1]["messages"][:2] == planner[0]["messages"]
    assert stage.usage.completion_tokens >= len(plan("a", "shout: b"))


@pytest.mark.anyio
async def test_a_reply_without_a_tag_is_asked_for_its_answer() -> None:
    result, asked = await solved(Model("I think that it is 4.", "\\boxed{4}"))
    assert (result.answer, result.stages) == ("4", ())
    assert asked[1]["messages"][-2]["content"] == "I think that it is 4."


@pytest.mark.anyio
async def test_a_malformed_plan_is_mended_by_telling_what_was_wrong() -> None:
    result, asked = await solved(Model("<prompt_1.1> a </prompt_1.1>", plan("a"), answer("4")))
    assert result.answer == "4"
    assert "outside of a plan" in asked[1]["messages"][-1]["content"]
    assert "outside of a plan" not in asked[-1]["messages"][-1]["content"]


@pytest.mark.anyio
async def test_a_plan_that_broke_off_and_begins_anew_repeats_no_task() -> None:
    broken = f"<Plan_1>\n{A}<prompt_1.2> b"
    result, _ = await solved(Model(broken, PLAN, answer("4")))
    assert result.answer == "4"
    assert [e.text for e in result.stages[0].executions] == ["did a", "did b"]


@pytest.mark.anyio
async def test_a_model_that_never_keeps_to_the_tags() -> None:
    model = Model("<prompt_1.1> a </prompt_1.1>", "<prompt_1.1> a </prompt_1.1>")
    async with serving(model) as server, Sprint(server.engine("chat")) as agent:
        with pytest.raises(PlanError, match="outside of a plan"):
            await agent.solve(QUESTION)


@pytest.mark.anyio
async def test_an_executor_that_the_model_refuses_fails_alone() -> None:
    async def behave(server: object, reply: object, asked: Body) -> None:
        if asked["messages"][-1]["content"].endswith("Your task:\nb"):
            await reply.begin()
            await reply.event(chunk(asked, None, "content_filter"))
            await reply.end()
        else:
            await model(server, reply, asked)

    model = Model(plan("a", "b"), answer("4"))
    async with serving(behave) as server, Sprint(server.engine("chat")) as agent:
        result = await agent.solve(QUESTION)
    assert result.answer == "4"
    done, failed = result.stages[0].executions
    assert (done.status, failed.status) == ("done", "failed")
    assert "content filter" in failed.text


@pytest.mark.anyio
async def test_a_trained_model_goes_on_with_the_text() -> None:
    """Mode "completions" through a whole run: prompts are the run's text, character for character."""
    engine = ScriptedEngine(Scripted([plan("a"), answer("4")]), tokenizer=None)
    expected = await Sprint(engine).solve(QUESTION)

    async def behave(server: object, reply: object, asked: Body) -> None:
        await says(script(asked["prompt"]))(server, reply, asked)

    script = Scripted([plan("a"), answer("4")])
    async with serving(behave) as server, Sprint(server.engine()) as agent:
        result = await agent.solve(QUESTION)
    assert (result.answer, result.text) == ("4", expected.text)
    assert [body["prompt"] for body in server.asked] == [r.prompt for r in engine.requests]


@pytest.mark.anyio
async def test_requests_say_who_can_be_named_and_what_was_wrong() -> None:
    engine = ScriptedEngine(Scripted(["<prompt_1.1> a </prompt_1.1>", plan("a"), answer("4")]))
    repaired: list[str] = []
    async with Sprint(engine, executors=[shout]) as agent, agent.stream(QUESTION) as run:
        async for event in run:
            if isinstance(event, PlanRepaired):
                repaired.append(event.reason)
    first, second, *_, last = engine.requests
    assert first.executors == (ExecutorCard("shout", "Says it louder."),)
    assert (first.complaint, second.complaint, last.complaint) == (None, repaired[0], None)


def test_a_transcript_reads_as_a_talk() -> None:
    whole = Transcript(QUESTION, (STAGE,), tags.answer("8")).text
    talk = conversation(whole.partition("<Final_answer>")[0])
    assert talk.messages == conversation(WHOLE).messages
