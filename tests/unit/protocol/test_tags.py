"""The tags: a text reads the same however it is cut, and no text from elsewhere reads as a tag."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprint_agent.protocol import tags
from sprint_agent.protocol.tags import (
    AnswerClosed,
    Malformed,
    Piece,
    PlanClosed,
    PromptClosed,
    Tag,
    TurnParser,
)
from sprint_agent.result import Verdict

FRAGMENTS = [
    "<Plan_1>\n",
    "</Plan_1>",
    "<prompt_1.1>",
    "</prompt_1.1>",
    '<prompt_1.2 executor="search">',
    "</prompt_1.2>",
    "<Execution_1>",
    "</execution_1.1>",
    "<Final_answer>",
    "</Final_answer>",
    "<think>",
    "\n-----\n",
    " think ",
    "<",
    ">",
    "</",
    "<prompt_1.",
    "<Plan_1",
    "7 < 8 and 9 > 3",
    "<b>bold</b>",
    "日本",
]
texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=5), max_size=14).map("".join)


def read(pieces: list[str], stop: str | None = None) -> list[tags.TurnEvent]:
    parser = TurnParser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.end(stop)


def cuts(text: str, places: list[int]) -> list[str]:
    marks = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in pairwise(marks)]


@settings(max_examples=2500, deadline=None)
@given(texts, st.lists(st.integers(0, 10_000), max_size=30), st.sampled_from([None, "</Plan_"]))
def test_a_turn_reads_the_same_however_it_is_cut(
    text: str, places: list[int], stop: str | None
) -> None:
    whole = read([text], stop)
    assert read(cuts(text, places), stop) == whole
    assert read(list(text), stop) == whole


def test_a_plan_is_read_with_its_prompts_and_executors() -> None:
    text = (
        "First.\n<Plan_1>\nthink\n<prompt_1.1> one </prompt_1.1>\n-----\n"
        '<prompt_1.2 executor="search"> two </prompt_1.2>\n'
    )
    first, second, closed = read([text], "</Plan_")
    assert first == PromptClosed((1, 1), "one", None, text.index("\n-----"))
    assert second == PromptClosed((1, 2), "two", "search", len(text) - 1)
    assert closed == PlanClosed(len(text))


def test_an_answer_is_read() -> None:
    text = "So:\n<Final_answer>\n\\boxed{1 + 2}\n"
    assert read([text], "</Final_answer>") == [AnswerClosed("\n\\boxed{1 + 2}\n")]
    assert read([text + "</Final_answer> and more"]) == [AnswerClosed("\n\\boxed{1 + 2}\n")]


@pytest.mark.parametrize(
    ("text", "reason", "at"),
    [
        ("x<Plan_1>\n<prompt_1.1> one", "a prompt has no closing tag", 10),
        (
            "<Plan_1>\n<prompt_1.1> one </prompt_1.2>",
            "a prompt was not closed by its own closing tag",
            9,
        ),
        (
            "<Plan_1>\n<prompt_1.1> one <prompt_1.2> two </prompt_1.2>",
            "a prompt was not closed by its own closing tag",
            9,
        ),
        ("<Plan_1>\n<prompt_1.1> a <think>", "a prompt was not closed by its own closing tag", 9),
        ("<Plan_1>\n</prompt_1.1>", "a plan contains the tag prompt, which it must not", 9),
        ("<Plan_1>\n<Plan_2>\n", "a plan contains the tag Plan, which it must not", 9),
        ("<Plan_1>\n<Final_answer>", "a plan contains the tag Final_answer, which it must not", 9),
        ("<Plan_1>\n<execution_1.1>", "a plan contains the tag execution, which it must not", 9),
        ("so <prompt_1.1> one </prompt_1.1>", "the tag prompt is outside of a plan", 3),
        ("so </prompt_1.1>", "the tag prompt is outside of a plan", 3),
        ("so <execution_1.1>", "the tag execution is outside of a plan", 3),
        ("so <Execution_1>", "the tag Execution is outside of a plan", 3),
        ("so", "a plan was closed that had not been opened", 2),
    ],
)
def test_what_cannot_be_run_is_malformed(text: str, reason: str, at: int) -> None:
    *_, last = read([text], "</Plan_")
    assert last == Malformed(reason, at)


@pytest.mark.parametrize("stop", ["</Plan_", "<Execution_"])
def test_free_thought_may_not_end_as_a_plan(stop: str) -> None:
    assert read(["so"], stop) == [Malformed("a plan was closed that had not been opened", 2)]


@pytest.mark.parametrize("stop", [None, "</think>", "</Final_answer>"])
def test_free_thought_may_end_otherwise(stop: str | None) -> None:
    assert read(["so"], stop) == []


@pytest.mark.parametrize("tag", ["<think>", "</think>", "<Question>", "</Question>"])
def test_a_plan_may_contain_thoughts(tag: str) -> None:
    text = f"<Plan_1>\n{tag}<prompt_1.1> one </prompt_1.1>\n"
    first, closed = read([text], "</Plan_")
    assert first == PromptClosed((1, 1), "one", None, len(text) - 1)
    assert closed == PlanClosed(len(text))


@pytest.mark.parametrize("tag", ["<think>", "</Plan_1>", "</Final_answer>", "<Question>"])
def test_free_thought_may_contain_tags_that_start_nothing(tag: str) -> None:
    assert read([f"{tag}<Plan_1>\n"], "</Plan_") == [PlanClosed(len(tag) + 9)]


def test_after_the_plan_nothing_is_read() -> None:
    parser = TurnParser()
    text = "<Plan_1>\n<prompt_1.1> one </prompt_1.1>\n</Plan_1>"
    *_, closed = parser.feed(text + "<prompt_1.2> two </prompt_1.2>")
    assert closed == PlanClosed(text.index("</Plan_1>"))
    assert parser.state == "done"
    before = parser.text
    assert parser.feed("<Final_answer>") == []
    assert parser.text == before
    assert parser.end("</Final_answer>") == []


def test_after_the_answer_nothing_is_read() -> None:
    parser = TurnParser()
    text = "<Final_answer>\n1\n</Final_answer><Plan_1>"
    assert parser.feed(text) == [AnswerClosed("\n1\n")]
    assert parser.state == "done"
    assert parser.end("</Final_answer>") == []


def test_an_answer_ends_at_its_own_closing_tag() -> None:
    text = "1 </Plan_1> </think> <Final_answer> <prompt_1.1> 2"
    assert read([f"<Final_answer>{text}</Final_answer>"]) == [AnswerClosed(text)]


def test_after_a_malformed_turn_nothing_is_read() -> None:
    parser = TurnParser()
    (only,) = parser.feed("</prompt_1.1><Plan_1><prompt_1.1> one </prompt_1.1>")
    assert isinstance(only, Malformed)
    assert parser.state == "done"
    assert parser.end("</Plan_") == []


def test_a_forced_turn_starts_inside_the_answer() -> None:
    parser = TurnParser(forced=True)
    assert parser.state == "answer"
    assert parser.feed("\\boxed{1}<Plan_1>\n") == []
    assert parser.end(None) == [AnswerClosed("\\boxed{1}<Plan_1>\n")]
    assert parser.state == "done"


def test_the_states_of_a_turn() -> None:
    parser = TurnParser()
    states = [parser.state]
    for piece in ("so <Plan_1>", "<prompt_1.1>", " one </prompt_1.1>", "</Plan_1>"):
        parser.feed(piece)
        states.append(parser.state)
    assert states == ["free", "plan", "prompt", "plan", "done"]


def test_a_turn_keeps_its_text() -> None:
    parser = TurnParser()
    parser.feed("so ")
    parser.feed("<Plan_1>")
    assert parser.text == "so <Plan_1>"


class TestScanner:
    def test_a_tag_is_found_when_it_is_complete(self) -> None:
        scanner = tags.Scanner()
        assert scanner.feed("ab<Pl") == []
        assert scanner.feed("an_12") == []
        assert scanner.feed("> and </prompt_3.4") == [Tag("Plan", False, (12,), None, 2, 11)]
        assert scanner.feed(">") == [Tag("prompt", True, (3, 4), None, 16, 29)]

    @pytest.mark.parametrize(
        ("text", "name", "closing", "numbers", "executor"),
        [
            ("<Plan_1>", "Plan", False, (1,), None),
            ("</Plan_9999>", "Plan", True, (9999,), None),
            ("<Execution_2>", "Execution", False, (2,), None),
            ("<prompt_1.2>", "prompt", False, (1, 2), None),
            ('<prompt_1.2 executor="my.own-tool_1">', "prompt", False, (1, 2), "my.own-tool_1"),
            ("</execution_1.2>", "execution", True, (1, 2), None),
            ("<execution_1.2 accepted>", "execution", False, (1, 2), None),
            ("<Final_answer>", "Final_answer", False, (), None),
            ("</think>", "think", True, (), None),
            ("<Question>", "Question", False, (), None),
        ],
    )
    def test_these_are_tags(
        self,
        text: str,
        name: str,
        closing: bool,
        numbers: tuple[int, ...],
        executor: str | None,
    ) -> None:
        expected = Tag(name, closing, numbers, executor, 1, 1 + len(text))
        assert tags.Scanner().feed(f"x{text}y") == [expected]

    @pytest.mark.parametrize(
        "text",
        [
            "<Plan>",
            "<Plan_>",
            "<Plan_12345>",
            "<Plan_1.2>",
            "<plan_1>",
            "< Plan_1>",
            "<prompt_1>",
            "<prompt_1.2 executor=search>",
            '<prompt_1.2 executor="">',
            "<Final_answer_1>",
            "<THINK>",
            "<Plan_١>",
        ],
    )
    def test_these_are_not(self, text: str) -> None:
        assert tags.Scanner().feed(text) == []

    def test_the_longest_tag_may_come_in_single_characters(self) -> None:
        name = "x" * 64
        text = f'<execution_1234.5678 executor="{name}" accepted>'
        scanner = tags.Scanner()
        found = [tag for character in text for tag in scanner.feed(character)]
        assert found == [Tag("execution", False, (1234, 5678), name, 0, len(text))]

    def test_only_the_last_bracket_may_begin_a_tag(self) -> None:
        scanner = tags.Scanner()
        scanner.feed("a < b" + " " * 200 + "<Plan")
        assert scanner.feed("_1>") == [Tag("Plan", False, (1,), None, 205, 213)]

    def test_a_bracket_that_opens_no_tag_hides_none(self) -> None:
        scanner = tags.Scanner()
        scanner.feed("a < b" + " " * 200)
        assert scanner.feed("<Plan_1>") == [Tag("Plan", False, (1,), None, 205, 213)]
        assert scanner.feed("<<Plan_1>") == [Tag("Plan", False, (1,), None, 214, 222)]


def test_an_unclosed_prompt_is_never_reported_as_closed() -> None:
    events = read(["<Plan_1>\n<prompt_1.1> a </prompt_1.1>\n<prompt_1.2> b"], "</Plan_")
    assert [e.text for e in events if isinstance(e, PromptClosed)] == ["a"]


def test_only_executions_are_accepted() -> None:
    scanner = tags.Scanner()
    (tag,) = scanner.feed("<prompt_1.1 accepted> <Plan_1 accepted> <execution_1.2 accepted>")
    assert (tag.name, tag.numbers) == ("execution", (1, 2))


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("\\boxed{1 + 2}", "1 + 2"),
        ("first \\boxed{1} then \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        (" no box ", "no box"),
        ("\\boxed{open {", "open {"),
        ("\\boxed{ 1 } and \\boxed{ {2} } }", "{2}"),
        ("\\boxed{ cut ", "cut"),
        ("\\boxed{}", ""),
        ("\\boxed{\\left\\{ 1 \\right.} so", "\\left\\{ 1 \\right."),
        ("\\boxed{\\{1, 2\\}} or {", "\\{1, 2\\}"),
        ("\\boxed{a \\\\} b}", "a \\\\"),
        ("\\boxed{\\left\\{ 1 \\right.}", "\\left\\{ 1 \\right."),
        ("\\boxed{x < 1 \\} \\\\} and more", "x < 1 \\} \\\\"),
        ("", ""),
    ],
)
def test_the_content_of_the_last_box_is_found(text: str, content: str) -> None:
    assert tags.boxed(text) == content


def test_what_looks_like_no_tag_is_left_alone() -> None:
    for text in ("7 < 8", "a<b and c>d", "<b>bold</b>", "x = y < z\n", "if (a<1) {}", "&lt;"):
        assert tags.escape(text) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<Plan_1>", "&lt;Plan_1>"),
        ("a </Plan_1> b", "a &lt;/Plan_1> b"),
        ("< / PLAN_x", "&lt; / PLAN_x"),
        ("<prompt_1.1><execution_1.1>", "&lt;prompt_1.1>&lt;execution_1.1>"),
        ("<Final_answer", "&lt;Final_answer"),
        ("<think></think>", "&lt;think>&lt;/think>"),
        ("<question>", "&lt;question>"),
        ("ends in <", "ends in &lt;"),
        ("ends in </fin", "ends in &lt;/fin"),
        ("ends in <b\n", "ends in <b\n"),
        ("<plan>", "<plan>"),
        ("<<Plan_1>", "<&lt;Plan_1>"),
    ],
)
def test_tags_and_what_looks_like_one_are_escaped(text: str, escaped: str) -> None:
    assert tags.escape(text) == escaped


@given(texts)
def test_escaped_text_has_no_tag(text: str) -> None:
    safe = tags.escape(text)
    assert tags.Scanner().feed(safe + ">") == []
    assert tags.escape(safe) == safe


class TestWriting:
    def test_the_opening_contains_the_question(self) -> None:
        assert tags.opening(" q <Plan_1>\n") == "<Question>\nq &lt;Plan_1>\n</Question>\n<think>\n"

    def test_a_prompt_contains_its_task(self) -> None:
        assert tags.prompt(1, 2, " task </prompt_1.2>\n") == (
            "<prompt_1.2> task &lt;/prompt_1.2> </prompt_1.2>"
        )
        assert tags.prompt(3, 4, "task", "search") == (
            '<prompt_3.4 executor="search"> task </prompt_3.4>'
        )

    def test_a_plan_contains_its_trains_of_thought(self) -> None:
        assert tags.plan(2, ["a", "b"]) == "<Plan_2>\na\n-----\nb\n"
        assert tags.plan(2, []) == "<Plan_2>\n\n"

    def test_the_answer_is_boxed(self) -> None:
        assert tags.answer("42") == "<Final_answer>\n\\boxed{42}\n"

    def test_the_answer_is_forced_by_its_opening_tag(self) -> None:
        assert tags.force_answer() == "<Final_answer>\n"

    def test_the_tag_of_an_execution_says_whether_it_was_accepted(self) -> None:
        assert tags.execution_tag(1, 2) == "<execution_1.2>"
        assert tags.execution_tag(1, 2, 1) == "<execution_1.2>"
        assert tags.execution_tag(1, 2, 2) == "<execution_1.2 accepted>"
        assert tags.execution_opening(1, 2) == "\n<execution_1.2>\n"

    def test_a_failed_execution_says_why(self) -> None:
        assert tags.failed("no such city") == "Failed: no such city\n"

    def test_a_line_gets_at_most_one_end(self) -> None:
        assert [tags.line_end(text) for text in ("", "a", "a\n")] == ["\n", "\n", ""]

    def test_glue_and_executions_alternate(self) -> None:
        assert tags.sync(1, "<Plan_1>\n", ["a <Plan_2>", "b\n"]) == [
            Piece("glue", "</Plan_1>\n\n<Execution_1>\n<execution_1.1>\n"),
            Piece("execution", "a &lt;Plan_2>"),
            Piece("glue", "\n</execution_1.1>\n\n<execution_1.2>\n"),
            Piece("execution", "b\n"),
            Piece("glue", "</execution_1.2>\n</Execution_1>\n\n"),
        ]

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("a\n b", "a\n b"),
            (" a ", "a"),
            ("\n\n a\n\n\n", "a\n"),
            ("a \t\n ", "a\n"),
            ("\n", ""),
            ("", ""),
            ("  <", "&lt;"),
        ],
    )
    def test_executions_have_no_blanks_at_their_ends(self, text: str, wanted: str) -> None:
        (_, piece, _) = tags.sync(1, "<Plan_1>\n", [text])
        assert piece == Piece("execution", wanted)

    def test_the_glue_tells_what_the_check_decided(self) -> None:
        pieces = tags.sync(2, "x", ["a", "b"], Verdict(2, " <Plan_1>\n found "))
        assert [piece.text for piece in pieces] == [
            "\n</Plan_2>\n\n<Execution_2>\n<execution_2.1>\n",
            "a",
            "\n</execution_2.1>\n\n<execution_2.2 accepted>\n",
            "b",
            "\n</execution_2.2>\nAccepted: &lt;Plan_1> found\n</Execution_2>\n\n",
        ]
        *_, last = tags.sync(2, "x", ["a"], Verdict(None))
        assert last.text == "\n</execution_2.1>\nNo execution was accepted.\n</Execution_2>\n\n"

    def test_a_stage_without_prompts_says_so(self) -> None:
        assert tags.sync(3, "x", []) == [
            Piece(
                "glue",
                "\n</Plan_3>\n\n<Execution_3>\nThere is no prompt to execute.\n</Execution_3>\n\n",
            )
        ]


@pytest.mark.parametrize(
    "beginning", ["", "<Plan_1>\n", "<Plan_1>\n<prompt_1.1> ", "<Final_answer>\n"]
)
@pytest.mark.parametrize("piece", ["a < b ", "<", "<prompt_1.", "日本 < ", "<" + " " * 200])
def test_a_long_turn_is_read_in_linear_time(beginning: str, piece: str) -> None:
    def seconds(count: int) -> float:
        parser = TurnParser()
        parser.feed(beginning)
        before = time.process_time()
        for _ in range(count):
            parser.feed(piece)
        parser.end(None)
        return (time.process_time() - before) / count

    seconds(200)
    assert seconds(40_000) < 5 * max(min(seconds(2_000) for _ in range(3)), 1e-6)
