"""Transcripts: what is written reads back byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprint_agent.protocol import tags
from sprint_agent.protocol.tags import Piece
from sprint_agent.protocol.transcript import StageText, Transcript, parse, parse_unfinished
from sprint_agent.result import Verdict

TWO_STAGES = Transcript(
    question="How many?",
    stages=(
        StageText(
            "Two.\n<Plan_1>\n<prompt_1.1> a </prompt_1.1>\n", ("one\n", "two"), Verdict(2, "2")
        ),
        StageText("<Plan_2>\n", ()),
    ),
    answer="<Final_answer>\n\\boxed{3}\n",
)
TWO_STAGES_TEXT = """\
<Question>
How many?
</Question>
<think>
Two.
<Plan_1>
<prompt_1.1> a </prompt_1.1>
</Plan_1>

<Execution_1>
<execution_1.1>
one
</execution_1.1>

<execution_1.2 accepted>
two
</execution_1.2>
Accepted: 2
</Execution_1>

<Plan_2>
</Plan_2>

<Execution_2>
There is no prompt to execute.
</Execution_2>

<Final_answer>
\\boxed{3}
</Final_answer>
</think>
"""


def test_a_transcript_is_written() -> None:
    assert TWO_STAGES.text == TWO_STAGES_TEXT


def test_it_reads_back_with_a_line_break_after_each_execution() -> None:
    first, second = TWO_STAGES.stages
    read = parse(TWO_STAGES_TEXT)
    assert read.question == "How many?"
    assert read.stages == (StageText(first.turn, ("one\n", "two\n"), first.verdict), second)
    assert read.answer == TWO_STAGES.answer


def test_its_pieces_are_those_that_the_runtime_tokenizes() -> None:
    pieces = TWO_STAGES.pieces
    assert [piece.role for piece in pieces] == [
        *("opening", "plan", "glue", "execution", "glue", "execution", "glue"),
        *("plan", "glue", "answer", "glue"),
    ]
    assert pieces[0] == Piece("opening", "<Question>\nHow many?\n</Question>\n<think>\n")
    assert pieces[1] == Piece("plan", TWO_STAGES.stages[0].turn)
    assert pieces[-2] == Piece("answer", TWO_STAGES.answer)
    assert pieces[-1] == Piece("glue", "</Final_answer>\n</think>\n")


def test_an_answer_without_a_line_break_gets_one() -> None:
    run = Transcript("q", (), "<Final_answer>\n\\boxed{3}")
    assert run.pieces[-1] == Piece("glue", "\n</Final_answer>\n</think>\n")
    assert parse(run.text).answer == "<Final_answer>\n\\boxed{3}\n"


def test_a_chain_of_thought_is_a_transcript_without_stages() -> None:
    run = Transcript("q", (), "So it is.\n<Final_answer>\n\\boxed{3}\n")
    assert parse(run.text) == run


def test_a_question_may_have_several_lines() -> None:
    assert parse(Transcript("a\nb", (), tags.answer("1")).text).question == "a\nb"


@pytest.mark.parametrize(
    ("verdict", "last"),
    [
        (None, ""),
        (Verdict(None), "No execution was accepted.\n"),
        (Verdict(1), ""),
        (Verdict(1, " it\n is \n"), "Accepted: it is\n"),
        (Verdict(1, "a < b"), "Accepted: a < b\n"),
    ],
)
def test_the_last_line_of_a_stage_says_what_the_check_found(
    verdict: Verdict | None, last: str
) -> None:
    run = Transcript("q", (StageText(tags.plan(1, ["a"]), ("x\n",), verdict),), tags.answer("2"))
    assert f"</execution_1.1>\n{last}</Execution_1>\n" in run.text
    remark = " ".join(verdict.remark.split()) if verdict else ""
    expected = verdict and Verdict(verdict.accepted, remark)
    assert parse(run.text).stages[0].verdict == expected


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
    read, written = (
        [(len(stage.executions), stage.verdict and stage.verdict.accepted) for stage in run.stages]
        for run in (again, transcript)
    )
    assert read == written
    for stage, original in zip(again.stages, transcript.stages, strict=True):
        remark = " ".join(original.verdict.remark.split()) if original.verdict else ""
        assert (stage.verdict.remark if stage.verdict else "") == tags.escape(remark)


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
    ("text", "reason"),
    [
        ("", "it does not begin with a question"),
        ("x" + TWO_STAGES_TEXT, "it does not begin with a question"),
        (TWO_STAGES_TEXT[:-1], "its final answer is missing"),
        (TWO_STAGES_TEXT + "x", "its final answer is missing"),
        (
            TWO_STAGES_TEXT.replace("<execution_1.2 accepted>", "<execution_1.3>"),
            # A stage with one execution would end here.
            f"it is not written as one at character {TWO_STAGES_TEXT.index('<execution_1.2') - 1}$",
        ),
    ],
)
def test_the_error_says_why_it_is_no_transcript(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^not a transcript: {reason}"):
        parse(text)


def test_only_whole_stages_of_a_run_under_way_are_stages() -> None:
    end = TWO_STAGES_TEXT.index("<Plan_2>")
    run = parse_unfinished(TWO_STAGES_TEXT[:end])
    assert (len(run.stages), run.rest) == (1, "")
    run = parse_unfinished(TWO_STAGES_TEXT[: end - 1])
    assert len(run.stages) == 0
    assert run.rest.startswith("Two.\n<Plan_1>")
