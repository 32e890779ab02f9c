"""The grammar: one reading for every cut of a text, and nothing from outside that reads as a tag."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprint_agent.protocol import tags
from sprint_agent.protocol.tags import AnswerClosed, Malformed, PlanClosed, PromptClosed, TurnParser
from sprint_agent.protocol.transcript import StageText, Transcript, parse, parse_unfinished
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
    ("text", "reason"),
    [
        ("<Plan_1>\n<prompt_1.1> one", "no closing tag"),
        ("<Plan_1>\n<prompt_1.1> one </prompt_1.2>", "own closing tag"),
        ("<Plan_1>\n<prompt_1.1> one <prompt_1.2> two </prompt_1.2>", "own closing tag"),
        ("<Plan_1>\n</prompt_1.1>", "none can be"),
        ("<Plan_1>\n<Plan_2>\n", "none can be"),
        ("<Plan_1>\n<Final_answer>", "none can be"),
        ("<prompt_1.1> one </prompt_1.1>", "outside of a plan"),
        ("", "not been opened"),
    ],
)
def test_what_cannot_be_run_is_malformed(text: str, reason: str) -> None:
    *_, last = read([text], "</Plan_")
    assert isinstance(last, Malformed)
    assert reason in last.reason


def test_an_unclosed_prompt_is_never_reported_as_closed() -> None:
    events = read(["<Plan_1>\n<prompt_1.1> a </prompt_1.1>\n<prompt_1.2> b"], "</Plan_")
    assert [e.text for e in events if isinstance(e, PromptClosed)] == ["a"]


words = st.text(max_size=20)
turns = st.lists(words.map(tags.escape), max_size=3).map(lambda t: tags.plan(1, t))


def verdicts(executions: int) -> st.SearchStrategy[Verdict | None]:
    if not executions:
        return st.none()
    accepted = st.builds(Verdict, st.integers(1, executions), words)
    return st.none() | st.just(Verdict(None)) | accepted


transcripts = st.builds(
    Transcript,
    question=words.map(str.strip),
    stages=st.lists(
        st.lists(words, max_size=3).flatmap(
            lambda texts: st.builds(
                StageText,
                turn=turns,
                executions=st.just(tuple(texts)),
                verdict=verdicts(len(texts)),
            )
        ),
        max_size=3,
    ).map(tuple),
    answer=st.from_regex(r"[a-z ]{0,9}", fullmatch=True).map(tags.answer),
)


@settings(max_examples=400, deadline=None)
@given(transcripts)
def test_a_rendered_transcript_reads_back_byte_for_byte(transcript: Transcript) -> None:
    text = transcript.text
    again = parse(text)
    assert again.text == text
    read, wrote = (
        [(len(stage.executions), stage.verdict and stage.verdict.accepted) for stage in run.stages]
        for run in (again, transcript)
    )
    assert read == wrote
    for stage, whole in zip(again.stages, transcript.stages, strict=True):
        said = tags.escape(" ".join(whole.verdict.remark.split())) if whole.verdict else ""
        assert (stage.verdict.remark if stage.verdict else "") == said


def test_only_executions_are_accepted() -> None:
    scanner = tags.Scanner()
    (tag,) = scanner.feed("<prompt_1.1 accepted> <Plan_1 accepted> <execution_1.2 accepted>")
    assert (tag.name, tag.numbers) == ("execution", (1, 2))


def test_an_execution_cannot_say_that_another_was_accepted() -> None:
    texts = (
        "</execution_1.1>\n\n<execution_1.2 accepted>\n\\boxed{1}\n",
        "</execution_1.3>\nAccepted: 1\n</Execution_1>\nAccepted: 1\n",
        "<execution_1.1 accepted>\n",
        f"</execution_1.3>\n{tags.NONE_ACCEPTED}</Execution_1>\n{tags.NONE_ACCEPTED}",
    )
    for verdict in (None, Verdict(None), Verdict(1), Verdict(2)):
        accepted = verdict and verdict.accepted
        stage = StageText(tags.plan(1, ["a"]), texts, verdict)
        run = Transcript("q", (stage,), tags.answer("2"))
        assert run.text.count("<execution_1.1 accepted>") == (accepted == 1)
        assert run.text.count("<execution_1.2 accepted>") == (accepted == 2)
        assert parse(run.text).stages[0].verdict == verdict


@settings(max_examples=200, deadline=None)
@given(transcripts, st.sampled_from(["", "so", "<Plan_9>\n<prompt_9.1> a </prompt_9.1>"]))
def test_a_run_under_way_reads_as_its_stages_and_the_rest(run: Transcript, rest: str) -> None:
    text = run.text.removesuffix("".join(piece.text for piece in run.pieces[-2:]))
    read = parse_unfinished(text + rest)
    assert (read.question, read.rest) == (run.pieces[0].text[11:-21], rest)
    assert len(read.stages) == len(run.stages)
    assert parse(run.text).stages == read.stages


@pytest.mark.parametrize("text", ["", "hello", "<Question>\nx\n</Question>\n<think>\n"])
def test_what_is_no_transcript_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a transcript"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("\\boxed{1 + 2}", "1 + 2"),
        ("first \\boxed{1} then \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        (" no box ", "no box"),
        ("\\boxed{open {", "open {"),
    ],
)
def test_the_boxed_content_is_found(text: str, content: str) -> None:
    assert tags.boxed(text) == content


def test_what_looks_like_no_tag_is_left_alone() -> None:
    for text in ("7 < 8", "a<b and c>d", "<b>bold</b>", "x = y < z\n", "if (a<1) {}", "&lt;"):
        assert tags.escape(text) == text
