"""Transcripts: what is written reads back byte for byte."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprint_agent import PlanError, Result, Sprint, events
from sprint_agent.protocol import tags
from sprint_agent.protocol.tags import Piece
from sprint_agent.protocol.transcript import StageText, Transcript, parse, parse_unfinished
from sprint_agent.result import Verdict
from sprint_agent.testing import ScriptedEngine


def plan(prompts: int, *trains: str) -> str:
    """A whole plan with this many prompts."""
    return tags.plan(1, [*trains, "\n".join(tags.prompt(1, k + 1, "a") for k in range(prompts))])


TWO_STAGES = Transcript(
    question="How many?",
    stages=(
        StageText(
            "Two.\n<Plan_1>\n<prompt_1.1> a </prompt_1.1>\n<prompt_1.2> b </prompt_1.2>\n",
            ("one\n", "two"),
            Verdict(2, "2"),
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
<prompt_1.2> b </prompt_1.2>
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
    run = Transcript("q", (StageText(plan(1), ("x\n",), verdict),), tags.answer("2"))
    assert f"</execution_1.1>\n{last}</Execution_1>\n" in run.text
    remark = " ".join(verdict.remark.split()) if verdict else ""
    expected = verdict and Verdict(verdict.accepted, remark)
    assert parse(run.text).stages[0].verdict == expected


words = st.text(max_size=20)


def turns(prompts: int) -> st.SearchStrategy[str]:
    trains = st.lists(words.map(tags.escape), min_size=1, max_size=3)
    return trains.map(lambda t: plan(prompts, *t))


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
                turn=turns(len(texts)),
                executions=st.just(tuple(texts)),
                verdict=verdicts(len(texts)),
            )
        ),
        max_size=3,
    ).map(tuple),
    answer=st.from_regex(r"[a-z][a-z ]{0,8}", fullmatch=True).map(tags.answer),
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
        stage = StageText(plan(len(texts)), texts, verdict)
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
        (
            TWO_STAGES_TEXT.replace("<prompt_1.2> b </prompt_1.2>\n", ""),
            "stage 1 cannot be run, because its plan has 1 prompts and 2 executions$",
        ),
        (
            TWO_STAGES_TEXT.replace("<Plan_2>\n", "<Plan_2>\n<execution_1.1>\n"),
            "stage 2 cannot be run, because a plan contains the tag execution, which it must not$",
        ),
        (
            TWO_STAGES_TEXT.replace("<Plan_2>\n", "<Final_answer>\n"),
            "stage 2 cannot be run, because its turn is an answer$",
        ),
        (
            TWO_STAGES_TEXT.replace("<Plan_2>\n", "</think>\n<Plan_2>\n"),
            "stage 2 cannot be run, because </think> ends the turn before its end$",
        ),
        (
            TWO_STAGES_TEXT.replace("<Final_answer>", "<Plan_3>"),
            "its answer cannot be read, because its turn is a plan$",
        ),
        (
            TWO_STAGES_TEXT.replace("<Final_answer>", "So:"),
            "its answer cannot be read, because the turn is neither a plan nor an answer$",
        ),
        (
            TWO_STAGES_TEXT.replace("<Final_answer>", "<prompt_3.1> a </prompt_3.1>"),
            "its answer cannot be read, because the tag prompt is outside of a plan$",
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


PARTS = [
    *("<Plan_1>\n", "<Plan_2>", "</Plan_1>", "<Execution_1>", "</Execution_1>", "<Final_answer>\n"),
    *(
        "<prompt_1.1> a </prompt_1.1>\n",
        "<prompt_1.2>b</prompt_1.2>",
        "<prompt_7.7>",
        "</prompt_1.1>",
    ),
    *(
        "</Final_answer>",
        "<think>",
        "</think>",
        "<Question>",
        "</Question>",
        "\\boxed{1}",
        "so < it",
    ),
    *(
        "<execution_1.1>\n",
        "</execution_1.1>",
        "<execution_1.1 accepted>",
        tags.SEPARATOR,
        "\n",
        "<",
    ),
    *(
        '<prompt_1.1 executor="model"> c </prompt_1.1>',
        '<prompt_1.1 executor="no"> c </prompt_1.1>',
    ),
]
written_turns = st.lists(st.sampled_from(PARTS), max_size=6).map("".join)


def ran(turn: str, closing: str) -> tuple[list[events.Event], Result | None]:
    """Runs a turn that a planner writes first. Then it answers."""
    replies = iter((turn + closing,))

    def script(prompt: str) -> str:
        if prompt.endswith(tags.force_answer()):
            return "\\boxed{2}\n</Final_answer>"
        if "<execution_1." in prompt.rpartition("<Plan_1>")[2] and "</Execution_1>" not in prompt:
            return "x\n</execution_1.1>"
        return next(replies, "<Final_answer>\n\\boxed{2}\n</Final_answer>")

    happened: list[events.Event] = []

    async def run() -> Result | None:
        try:
            async with Sprint(ScriptedEngine(script, chunk=1_000)).stream("q") as watched:
                async for event in watched:
                    happened.append(event)
                return await watched.result()
        except PlanError:
            return None

    return happened, anyio.run(run)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["", "<Plan_1>\n"]), written_turns)
def test_a_plan_is_parsed_exactly_if_a_run_accepts_it(beginning: str, turn: str) -> None:
    turn = f"{beginning}{turn}\n"
    happened, result = ran(turn, "</Plan_1>")
    repaired = any(isinstance(event, events.PlanRepaired) for event in happened)
    stages = result.stages if result else ()
    accepted = not repaired and [stage.plan for stage in stages] == [turn]
    executions = sum(len(stage.executions) for stage in stages) if accepted else 0
    for count in range(7):
        run = Transcript("q", (StageText(turn, ("x\n",) * count),), tags.answer("2"))
        if accepted and count == executions:
            assert parse(run.text) == run
        else:
            with pytest.raises(ValueError, match="not a transcript"):
                parse(run.text)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["", "<Final_answer>\n"]), written_turns)
def test_an_answer_is_parsed_exactly_if_a_run_accepts_it(beginning: str, turn: str) -> None:
    turn = f"{beginning}{turn}\n"
    happened, result = ran(turn, "</Final_answer>")
    repaired = any(isinstance(event, events.PlanRepaired) for event in happened)
    answered = (
        result is not None
        and not (repaired or result.stages)
        and result.text == Transcript("q", (), turn).pieces[0].text + turn
    )
    text = Transcript("q", (), turn).text
    if answered:
        assert parse(text).answer == turn
    else:
        with pytest.raises(ValueError, match="not a transcript"):
            parse(text)
