"""Rendering: notes in plans, tags in a trajectory, and runs that end at the first success."""

from __future__ import annotations

from dataclasses import replace

import pytest

from curate import render
from curate.candidate import Candidate
from curate.pack.leak_free import Packing, pack_leak_free
from curate.pack.stages import Packed
from curate.read.traces import TracedRun
from curate.trajectory import Annotated, Component, Trajectory
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import Transcript, parse
from sprint_agent.result import Verdict

pytestmark = pytest.mark.anyio
TRANSCRIPT = Transcript("What?", (), tags.answer("7"))


class TestNotes:
    async def test_plans_name_the_executions_that_they_use(self) -> None:
        components = (
            Component(1, prompt="a", execution="A1. A2. A3.", comment="It is 5."),
            Component(2, prompt="b", execution="B1. B2. B3."),
            Component(3, plan="Sum up.", parents=frozenset({1, 2})),
            Component(
                4,
                prompt="c",
                execution="Count one. Count two. Done then.",
                comment="Good.",
                parents=frozenset({3}),
            ),
        )
        found = await pack_leak_free(Annotated(Trajectory("What?", "", "7"), components), Packing())
        run = Candidate(packed=found).transcript
        assert run.stages[1].turn == (
            "<Plan_2>\nObservation about execution_1.1: It is 5.\n"
            "Based on execution_1.1, execution_1.2:\nSum up."
            f"{tags.SEPARATOR}<prompt_2.1> c </prompt_2.1>\n"
        )
        assert run.answer.startswith("Observation about execution_2.1: Good.\n<Final_answer>")

    @pytest.mark.parametrize("blanks", ["", " ", "\n", "\n\n", " \n\t\n ", "\u2003\r\n"])
    def test_executions_have_no_blanks_at_their_ends(self, blanks: str) -> None:
        packed = packed_stage(f"{blanks}Work one.\n\n  More.{blanks}", blanks)
        for run in (
            render.with_notes(packed),
            render.without_notes(packed, claim),
            render.first_success(packed, claim, len, lambda: 0),
        ):
            work, empty = run.stages[0].executions
            assert (work.removesuffix("\n"), empty) == ("Work one.\n\n  More.", "")
            inside = "<execution_1.1>\nWork one.\n\n  More.\n</execution_1.1>"
            assert inside in run.text
        learned = Candidate(packed=packed).sample.executions["1.1"]
        assert learned == render.with_notes(packed).stages[0].executions[0]

    async def test_tags_in_a_trajectory_are_harmless(self) -> None:
        hostile = "</Plan_1> <prompt_1.1> x </prompt_1.1> </Final_answer>"
        one = Component(
            1, plan=hostile, prompt=hostile, execution=f"{hostile}. B. C.", comment=hostile
        )
        given = Annotated(Trajectory(hostile, hostile, "7"), (one,))
        candidate = Candidate(packed=await pack_leak_free(given, Packing()))
        for run in (candidate.transcript, replace(candidate, unsplit=True).transcript):
            assert parse(run.text).text == run.text
            assert len(parse(run.text).stages) == 1
        assert candidate.sequential_sample.transcript.text.count("</Final_answer>") == 1


def packed_stage(*executions: str) -> Packed:
    """Returns a trajectory of one stage with these executions."""
    stage = tuple(
        Component(n, plan=f"Thought {n}.\n", prompt=f"task {n}", execution=text)
        for n, text in enumerate(executions, 1)
    )
    return Packed(Annotated(Trajectory("What?", "So.", "7"), stage), (stage,))


def claim(text: str) -> str | None:
    return text.removeprefix("found ") if text.startswith("found ") else None


class TestFirstSuccess:
    def test_the_plan_is_cut_and_the_rest_is_stopped(self) -> None:
        packed = packed_stage("long " * 500, "found 8", "not started")
        run = render.first_success(packed, claim, len, lambda: 0)
        (stage,) = run.stages
        assert stage.turn.endswith("</prompt_1.2>")
        assert stage.executions == (tags.STOPPED, "found 8")
        assert stage.verdict == Verdict(2, "8")
        assert tags.boxed(run.answer) == "8"

    def test_the_earlier_of_two_successes_is_accepted(self) -> None:
        packed = packed_stage("found " + "9" * 500, "found 8")
        delays = iter((0, 0))
        run = render.first_success(packed, claim, len, lambda: next(delays))
        assert run.stages[0].verdict == Verdict(2, "8")
        # If the second one starts late enough, the first one ends before it.
        delays = iter((0, 1000))
        run = render.first_success(packed, claim, len, lambda: next(delays))
        assert run.stages[0].verdict == Verdict(1, "9" * 500)

    def test_without_a_success_the_stage_waits_for_all(self) -> None:
        run = render.first_success(packed_stage("none", "no"), claim, len, lambda: 0)
        assert run.stages[0].executions == ("none", "no")
        assert run.stages[0].verdict == Verdict(None)
        assert tags.boxed(run.answer) == "7"


class TestCandidate:
    def test_a_run_has_no_sequential_sample(self) -> None:
        run = TracedRun(Trajectory("What?", "So.", "7", "a.jsonl"), TRANSCRIPT, {"1.1": "learned"})
        assert Candidate(run=run).sample.executions == {"1.1": "learned"}
        with pytest.raises(ValueError, match=r"a\.jsonl is a recorded run"):
            _ = Candidate(run=run).sequential_sample

    def test_an_unsplit_one_has_no_executions(self) -> None:
        candidate = Candidate(packed_stage("One."), unsplit=True)
        assert candidate.sample.executions == {}
        assert candidate.transcript == render.unsplit(candidate.trajectory)
