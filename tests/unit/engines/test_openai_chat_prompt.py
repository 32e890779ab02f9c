"""The prompts for an untrained chat model: a run's text as the messages of a conversation."""

from __future__ import annotations

import re

from sprint_agent.engine import ExecutorCard
from sprint_agent.engines.openai.chat_prompt import Conversation, build_conversation
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import StageText, Transcript
from sprint_agent.result import Verdict

QUESTION = "What are 3 + 5 and 8 * 7?"
OPENING = tags.opening(QUESTION)
TURN = "Two sums.\n<Plan_1>\n<prompt_1.1> 3 + 5 </prompt_1.1>\n<prompt_1.2> 8 * 7 </prompt_1.2>\n"
STAGE = StageText(TURN, ("8\n", "Failed: too hard\n"))
WHOLE = OPENING + TURN + "".join(p.text for p in tags.sync(1, TURN, STAGE.executions))
SEARCH = ExecutorCard("search", "Looks\n    something up.")


def roles(conversation: Conversation) -> list[str]:
    return [message["role"] for message in conversation.messages]


def contents(conversation: Conversation) -> list[str]:
    return [message["content"] for message in conversation.messages]


def test_any_other_text_becomes_one_message() -> None:
    conversation = build_conversation("Hello", [SEARCH], "no")
    assert conversation == Conversation(({"role": "user", "content": "Hello"},), "text")


def test_the_first_turn() -> None:
    conversation = build_conversation(OPENING)
    assert (roles(conversation), conversation.expected) == (["system", "user"], "turn")
    system, user = contents(conversation)
    assert QUESTION in user
    for tag in ("<Plan_1>", "</Plan_1>", "<prompt_1.1>", "</prompt_1.1>", "<Final_answer>"):
        assert tag in system
    assert "executor=" not in system


def test_the_example_in_the_planners_prompt_can_be_run() -> None:
    system = contents(build_conversation(OPENING))[0]
    example = re.search(r"<Plan_1>.*?</Plan_1>", system, re.DOTALL)
    assert example is not None
    parser = tags.TurnParser()
    kinds = [type(event) for event in parser.feed(example[0])]
    assert kinds == [tags.PromptClosed, tags.PromptClosed, tags.PlanClosed]


def test_executors_are_named_and_described() -> None:
    cards = [SEARCH, ExecutorCard("sum", "Adds.")]
    system = contents(build_conversation(OPENING, cards))[0]
    assert '<prompt_1.1 executor="search">' in system
    assert "- search: Looks something up.\n- sum: Adds." in system


def test_stages_become_messages_that_are_only_appended() -> None:
    first, conversation = build_conversation(OPENING), build_conversation(WHOLE)
    assert (roles(conversation), conversation.expected) == (
        ["system", "user", "assistant", "user"],
        "turn",
    )
    assert conversation.messages[:2] == first.messages
    turn, executions = contents(conversation)[2:]
    assert turn == f"{TURN}</Plan_1>"
    assert executions.startswith("<Execution_1>\n<execution_1.1>\n8\n</execution_1.1>")
    assert "Failed: too hard" in executions
    assert "<Plan_2>" in executions
    further = build_conversation(WHOLE + WHOLE.removeprefix(OPENING).replace("_1", "_2"))
    assert further.messages[:4] == conversation.messages
    assert len(further.messages) == 6


def test_a_conversation_says_which_execution_was_accepted() -> None:
    for verdict, expected in (
        (Verdict(1), "<execution_1.1 accepted>\n8\n"),
        (Verdict(None), f"{tags.NONE_ACCEPTED}</Execution_1>"),
    ):
        stage = "".join(p.text for p in tags.sync(1, TURN, STAGE.executions, verdict))
        conversation = build_conversation(OPENING + TURN + stage)
        assert expected in contents(conversation)[-1]
        assert contents(conversation)[-1].count("accepted") == 1
    assert "accepted" not in contents(build_conversation(WHOLE))[-1]


def test_a_forced_answer_is_requested() -> None:
    for text in (OPENING, WHOLE):
        free, forced = build_conversation(text), build_conversation(text + tags.force_answer())
        assert forced.expected == "answer"
        assert roles(forced) == roles(free)
        assert "no further plan" in contents(forced)[-1]
    forced = build_conversation(WHOLE + "I see.\n" + tags.force_answer())
    assert roles(forced)[-2:] == ["assistant", "user"]
    assert contents(forced)[-2] == "I see.\n"


def test_an_executor_gets_its_task_and_earlier_stages() -> None:
    turn = (
        '<Plan_2>\n<prompt_2.1> other </prompt_2.1>\n<prompt_2.7 executor="x"> this </prompt_2.7>'
    )
    conversation = build_conversation(WHOLE + turn + tags.execution_opening(2, 2), [SEARCH])
    assert (roles(conversation), conversation.expected) == (["system", "user"], "execution")
    system, user = contents(conversation)
    assert "<Plan" not in system
    assert user.endswith("Your task:\nthis")
    assert QUESTION in user
    assert "<execution_1.1>\n8\n</execution_1.1>" in user
    assert "other" not in user
    alone = build_conversation(OPENING + TURN + tags.execution_opening(1, 2))
    assert contents(alone)[1].endswith("Your task:\n8 * 7")
    assert "found so far" not in contents(alone)[1]


def test_a_text_that_broke_off_is_continued() -> None:
    conversation = build_conversation(
        WHOLE + "<Plan_2>\n<prompt_2.1> a </prompt_2.1>\n<prompt_2.2> b"
    )
    assert (roles(conversation)[-2:], conversation.expected) == (["assistant", "user"], "rest")
    assert conversation.last_closing_tag == "</prompt_2.1>"
    assert contents(conversation)[-2].endswith("<prompt_2.2> b")
    assert "Go on" in contents(conversation)[-1]
    assert build_conversation(OPENING + "<Plan_1>\n").last_closing_tag is None
    begun = build_conversation(OPENING + TURN + tags.execution_opening(1, 2) + "8 * 7 is")
    assert (roles(begun)[2:], begun.expected) == (["assistant", "user"], "execution")
    assert contents(begun)[2] == "8 * 7 is"


def test_a_complaint_is_the_last_message() -> None:
    for text in (OPENING, WHOLE, OPENING + "<Plan_1>\n"):
        conversation = build_conversation(text, (), "a prompt has no closing tag")
        assert roles(conversation)[-1] == "user"
        assert "a prompt has no closing tag" in contents(conversation)[-1]


def test_a_transcript_is_read_as_stages() -> None:
    whole = Transcript(QUESTION, (STAGE,), tags.answer("8")).text
    conversation = build_conversation(whole.partition("<Final_answer>")[0])
    assert conversation.messages == build_conversation(WHOLE).messages
