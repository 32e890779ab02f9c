"""How a chat model's reply becomes the text that continues a run."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprint_agent.engines.openai.chat_prompt import Conversation, build_conversation
from sprint_agent.engines.openai.chat_reply import ChatReader
from sprint_agent.protocol import tags
from sprint_agent.protocol.tags import EXECUTOR_STOPS, PLANNER_STOPS
from tests.script import answer

OPENING = tags.opening("What are 3 + 5 and 8 * 7?")
TURN = "Two sums.\n<Plan_1>\n<prompt_1.1> 3 + 5 </prompt_1.1>\n<prompt_1.2> 8 * 7 </prompt_1.2>\n"

FREE = build_conversation(OPENING)
FORCED = build_conversation(OPENING + tags.force_answer())
TASK = build_conversation(OPENING + TURN + tags.execution_opening(1, 2))
BROKEN = build_conversation(OPENING + "<Plan_1>\n<prompt_1.1> a </prompt_1.1>")
OPENED = build_conversation(OPENING + "<Plan_1>\n")
TEXT = build_conversation("Hello")

A, B = "<prompt_1.1> a </prompt_1.1>\n", "<prompt_1.2> b </prompt_1.2>\n"
PLAN = f"<Plan_1>\n{A}{B}</Plan_1>"

REPLIES: list[tuple[Conversation, str, str, str | None]] = [
    # a plan, alone and with text around it
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
    # an answer whose tag is already open
    (FORCED, answer("4"), "\n\\boxed{4}\n", "</Final_answer>"),
    (FORCED, f"Sure.\n```\n{answer('4')}\n```", "\n\\boxed{4}\n", "</Final_answer>"),
    (FORCED, "\\boxed{4}\n</Final_answer> x", "\\boxed{4}\n", "</Final_answer>"),
    (FORCED, "<think>4?</think>\\boxed{4}", "\\boxed{4}", None),
    # an execution whose tag is already open
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


def read_reply(conversation: Conversation, pieces: list[str]) -> tuple[str, str | None]:
    stops = EXECUTOR_STOPS if conversation.expected == "execution" else PLANNER_STOPS
    reader = ChatReader(conversation, stops)
    text = "".join([reader.feed(piece) for piece in pieces] + [reader.flush()])
    return text, reader.stop


@pytest.mark.parametrize(("conversation", "reply", "text", "stop"), REPLIES)
def test_a_reply_continues_the_run(
    conversation: Conversation, reply: str, text: str, stop: str | None
) -> None:
    assert read_reply(conversation, [reply]) == (text, stop)
    assert read_reply(conversation, list(reply)) == (text, stop)


@given(st.sampled_from(REPLIES), st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_the_cuts_in_a_reply_do_not_matter(
    case: tuple[Conversation, str, str, str | None], sizes: list[int]
) -> None:
    conversation, reply, text, stop = case
    pieces: list[str] = []
    while reply:
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(reply[:size])
        reply = reply[size:]
    assert read_reply(conversation, pieces) == (text, stop)


def test_a_plan_is_read_while_it_is_written() -> None:
    reader = ChatReader(FREE, PLANNER_STOPS)
    assert reader.feed("```\n<think>") == ""
    assert reader.feed(f"<Plan_1>\n{A}") != ""
    assert reader.feed(B) == B


@pytest.mark.parametrize(
    ("conversation", "piece"),
    [
        *((conversation, "a < b ") for conversation in (FREE, FORCED, TASK, BROKEN, OPENED, TEXT)),
        *((FREE, piece) for piece in ("\n  ", "<", "<Pla", "```", "<think></think>", "<thin")),
        *((FORCED, piece) for piece in ("<Final_answer", "<Plan_1>", "</Final", "<think>")),
        *((TASK, piece) for piece in ("<execution_", "<execution_1", "1")),
        *((BROKEN, piece) for piece in ("<Plan_", "<Plan_1>", A, "</prompt_1.", "x</prompt_1.2>")),
    ],
)
def test_a_long_reply_is_read_in_linear_time(conversation: Conversation, piece: str) -> None:
    def seconds(count: int) -> float:
        reader = ChatReader(conversation, PLANNER_STOPS)
        before = time.process_time()
        for _ in range(count):
            reader.feed(piece)
        reader.flush()
        return (time.process_time() - before) / count

    seconds(200)
    assert seconds(40_000) < 5 * max(min(seconds(2_000) for _ in range(3)), 1e-6)


@pytest.mark.parametrize("piece", ["<think></think>", "<think>a</think>\n ", "a < b ", "```\n"])
def test_a_long_reply_in_one_piece(piece: str) -> None:
    reader = ChatReader(FREE)
    reader.feed(piece * 40_000 + "so")
    assert reader.flush().endswith("so") or "think" in piece


@pytest.mark.parametrize("thought", ["<think>", "<think>a", "<think></think>", " <think></thin"])
def test_a_reply_that_is_all_thought_is_empty(thought: str) -> None:
    assert read_reply(FREE, [thought]) == ("", None)
    assert read_reply(FREE, list(thought)) == ("", None)


@pytest.mark.parametrize("tag", [f"<execution_{'1' * n}" for n in (1, 28, 29, 30, 200)])
def test_an_execution_waits_for_no_tag_that_never_ends(tag: str) -> None:
    reader = ChatReader(TASK)
    assert "".join(map(reader.feed, tag + " x" * 30)).startswith("<execution_1")
