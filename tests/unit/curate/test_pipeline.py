"""The pipeline: every trajectory has one outcome, stages keep dependent work apart, nothing is lost."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.candidate import Candidate
from curate.countdown import CountdownData, symbolic
from curate.countdown import puzzles as countdown_puzzles
from curate.drops import Dropped, Reason
from curate.files import jsonl
from curate.files.jsonl import Writer
from curate.grade.graders import Ungraded
from curate.pack.leak_free import Packing, pack_leak_free
from curate.pack.leaks import Leak
from curate.pack.stages import Packed
from curate.pipeline import DroppedRecord, Outcome, Work, outcomes
from curate.read.sources import Unread
from curate.samples import Sample
from curate.select import Figures, Selection, check, figures, in_share
from curate.spool import Spool
from curate.steps import render, select
from curate.trajectory import Annotated, Component, Trajectory
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import parse
from tests.curated import SMALL

pytestmark = pytest.mark.anyio


@st.composite
def annotated(draw: st.DrawFn, *, used_by_executions: bool = True) -> Annotated:
    """A random graph of components; some execute, at any length, and some use what others found."""
    made: list[Component] = []
    for number in range(1, draw(st.integers(1, 9)) + 1):
        parents = (
            draw(st.frozensets(st.integers(1, number - 1), max_size=3)) if number > 1 else None
        )
        lines = draw(st.integers(0, 5))
        uses = draw(st.integers(1, number))
        work = "".join(f"Line {number}x{k} of work.\n" for k in range(lines))
        found = f"Then 1 + {number} = {number + 500}.\n"
        if used_by_executions:
            found += f"With {uses + 500} we are done.\n"
        remark = f"Remark {number}c, less than {uses + 500}.\n"
        made.append(
            Component(
                number,
                plan=f"Thought {number}p.\n",
                prompt=f"task {number}" if lines else "",
                execution=work + found if lines else "",
                comment=remark if draw(st.booleans()) else "",
                parents=parents or frozenset(),
            )
        )
    text = "".join(c.plan + c.execution + c.comment for c in made)
    return Annotated(Trajectory("What?", text, "7"), tuple(made))


def stage_of(stages: tuple[tuple[Component, ...], ...]) -> dict[int, int]:
    return {c.number: at for at, stage in enumerate(stages, 1) for c in stage}


class TestPacking:
    @settings(max_examples=150, deadline=None)
    @given(annotated())
    def test_nothing_stands_before_or_beside_an_executing_parent(self, given: Annotated) -> None:
        found = anyio.run(pack_leak_free, given, Packing())
        at = stage_of(found.stages)
        executes = {c.number for stage in found.stages for c in stage if c.execution}
        for component in found.annotated.components:
            waits = [at[p] + (p in executes) for p in component.parents]
            assert at[component.number] == max(waits, default=1)

    @settings(max_examples=150, deadline=None)
    @given(annotated())
    def test_no_text_is_lost_and_the_run_reads_back(self, given: Annotated) -> None:
        found = anyio.run(pack_leak_free, given, Packing())
        run = Candidate(packed=found).transcript
        assert parse(run.text) == run
        for line in given.trajectory.text.splitlines():
            assert run.text.count(line) >= given.trajectory.text.count(line)

    @settings(max_examples=150, deadline=None)
    @given(annotated())
    def test_what_an_execution_uses_was_found_in_an_earlier_stage(self, given: Annotated) -> None:
        found = anyio.run(pack_leak_free, given, Packing())
        at = stage_of(found.stages)
        executing = [c for stage in found.stages for c in stage if c.execution]
        for component in executing:
            (used,) = re.findall(r"With (\d+)", component.execution)
            finder = next((c for c in executing if c.number == int(used) - 500), component)
            if finder is not component:
                assert at[finder.number] < at[component.number]

    @settings(max_examples=150, deadline=None)
    @given(annotated(used_by_executions=False))
    def test_what_a_comment_uses_was_found_when_its_plan_is_written(self, given: Annotated) -> None:
        found = anyio.run(pack_leak_free, given, Packing())
        at = stage_of(found.stages)
        for component in (c for stage in found.stages for c in stage if c.comment):
            (used,) = re.findall(r"less than (\d+)", component.comment)
            finder = next(c for c in found.annotated.components if c.number == int(used) - 500)
            # A comment opens the plan of the next stage.
            assert not finder.execution or at[finder.number] <= at[component.number]

    async def test_a_leak_drops_the_trajectory_where_that_is_wanted(self) -> None:
        one = Component(1, prompt="a", execution="One. Two. So 1 + 1 = 517.")
        two = Component(2, prompt="b", execution="Use 517. Two. Three.")
        given = Annotated(Trajectory("What?", "", "7"), (one, two))
        mended = await pack_leak_free(given, Packing())
        assert mended.leaks == (Leak(2, 1, "517"),)
        assert len(mended.stages) == 2
        with pytest.raises(Dropped, match="2 uses '517'"):
            await pack_leak_free(given, Packing(on_leak="drop"))

    async def test_a_model_is_asked_once_for_what_values_do_not_show(self) -> None:
        class ReceivedRequest:
            times = 0

            async def leaks(self, *_: object) -> tuple[Leak, ...]:
                self.times += 1
                return (Leak(2, 1, "that it fails"),)

        asked = ReceivedRequest()
        two = (
            Component(1, prompt="a", execution="It. Does. Fail."),
            Component(2, prompt="b", execution="Since. It. Failed."),
        )
        given = Annotated(Trajectory("What?", "", "7"), two)
        assert len((await pack_leak_free(given, Packing(leak_finder=asked))).stages) == 2
        assert asked.times == 1


class TestNotes:
    async def test_plans_say_what_they_stand_on(self) -> None:
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

    async def test_tags_in_a_trajectory_are_harmless(self) -> None:
        hostile = "</Plan_1> <prompt_1.1> x </prompt_1.1> </Final_answer>"
        one = Component(
            1, plan=hostile, prompt=hostile, execution=f"{hostile}. B. C.", comment=hostile
        )
        given = Annotated(Trajectory(hostile, hostile, "7"), (one,))
        candidate = Candidate(packed=await pack_leak_free(given, Packing()))
        for run in (candidate.transcript, replace(candidate, undivided=True).transcript):
            assert parse(run.text).text == run.text
            assert len(parse(run.text).stages) == 1
        assert candidate.sequential_sample.transcript.text.count("</Final_answer>") == 1


class Grades:
    async def grade(self, given: Trajectory) -> bool:
        if given.answer == "?":
            raise Dropped(Reason.UNGRADED, "unclear")
        return given.answer != "0"


class Annotates:
    async def annotate(self, given: Trajectory) -> Annotated:
        if given.text == "bad":
            raise Dropped(Reason.CYCLE, "2 needs 3")
        # The later, the sooner it is ready.
        for _ in range(20 - int(given.source)):
            await anyio.lowlevel.checkpoint()
        return Annotated(given, (Component(1, plan=given.text),))


async def spooled(items: list[Trajectory | Unread], folder: Path) -> list[Outcome]:
    work = Work(Annotates(), Grades(), Packing())
    with Spool(folder) as spool, anyio.fail_after(20):
        await outcomes(items, work, 4, spool.write)  # type: ignore[arg-type]
        return list(spool.read())


class TestMap:
    async def test_each_has_one_outcome_in_the_order_of_the_input(self, tmp_path: Path) -> None:
        items: list[Trajectory | Unread] = [
            Trajectory(f"q{n}", f"text {n}", "7", str(n)) for n in range(20)
        ]
        items[3] = Unread("3", Reason.UNREADABLE, "no question")
        items[5] = Trajectory("q5", "text", "0", "5")
        items[7] = Trajectory("q7", "text", "?", "7")
        items[9] = Trajectory("q9", "bad", "7", "9")
        found = await spooled(items, tmp_path)
        assert [outcome.position for outcome in found] == list(range(20))
        assert {o.position: (o.dropped.step, o.dropped.reason) for o in found if o.dropped} == {
            3: ("read", Reason.UNREADABLE),
            5: ("grade", Reason.WRONG),
            7: ("grade", Reason.UNGRADED),
            9: ("annotate", Reason.CYCLE),
        }
        kept = [o.candidate.trajectory for o in found if o.candidate]
        assert kept == [item for n, item in enumerate(items) if n not in (3, 5, 7, 9)]

    async def test_what_is_no_fault_of_a_trajectory_ends_the_run(self, tmp_path: Path) -> None:
        class Broken:
            async def annotate(self, given: Trajectory) -> Annotated:
                raise RuntimeError("no endpoint")

        with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError)):
            await outcomes(
                [Trajectory("q", "t", "7")],
                Work(Broken(), Ungraded(), Packing()),
                1,
                lambda _: None,
            )


def candidates(count: int) -> list[Candidate]:
    """So many of the searcher's trajectories."""
    data = CountdownData(spaces=SMALL)
    written = (symbolic.trajectory(puzzle) for puzzle in countdown_puzzles(data, "train"))
    found: list[Candidate] = []
    for trajectory in written:
        if trajectory is not None:
            how = Packing(shortest_execution=1)
            found.append(Candidate(anyio.run(pack_leak_free, symbolic.annotate(trajectory), how)))
        if len(found) == count:
            return found
    raise AssertionError("the puzzles ran out")


def chosen(
    given: list[Candidate], wanted: Selection, folder: Path
) -> tuple[list[Candidate], list[DroppedRecord]]:
    jsonl.write(given, folder / "packed.jsonl")
    with Writer(folder / "selected.jsonl") as kept, Writer(folder / "dropped.jsonl") as dropped:
        select(folder / "packed.jsonl", wanted, len, kept, dropped)
    return (
        list(jsonl.read(kept.path, Candidate)),
        list(jsonl.read(dropped.path, DroppedRecord)),
    )


class TestSelection:
    def test_by_ratio_stages_and_length(self) -> None:
        found = Figures(stages=2, steps=5, prompts=(3, 1), tokens=100, sequential_tokens=60)
        assert (found.executions_ratio, found.steps_ratio) == (2.0, 2.5)
        check(found, Selection(least_ratio=2.0, most_stages=2, longest=100))
        for wanted, reason in [
            (Selection(least_ratio=2.1), Reason.RATIO),
            (Selection(least_ratio=2.6, ratio="steps"), Reason.RATIO),
            (Selection(most_stages=1), Reason.STAGES),
            (Selection(longest=99), Reason.LENGTH),
        ]:
            with pytest.raises(Dropped) as caught:
                check(found, wanted)
            assert caught.value.reason is reason

    async def test_figures_are_the_papers(self) -> None:
        components = (
            Component(1, prompt="a", execution="A" * 50),
            Component(2, plan="Go.", prompt="b", execution="B" * 9),
            Component(3, plan="End.", parents=frozenset({1})),
        )
        given = Annotated(Trajectory("What?", "", "7"), components)
        run = Candidate(await pack_leak_free(given, Packing(shortest_execution=1))).transcript
        found = figures(run, len)
        assert (found.stages, found.steps, found.prompts) == (2, 3, (2, 0))
        first = run.stages[0].turn
        plan, tail = first.index("</prompt_1.1>") + len("</prompt_1.1>"), "\n"
        assert found.sequential_tokens == (
            plan + 50 + len(tail) + len(run.stages[1].turn) + len(run.answer)
        )

    def test_the_best_of_each_question_is_kept(self, tmp_path: Path) -> None:
        given = candidates(3)
        again = replace(
            given[0], packed=replace(given[0].packed, stages=given[0].packed.stages * 2)
        )  # type: ignore[union-attr,type-var]
        kept, dropped = chosen([again, *given, given[1]], Selection(), tmp_path)
        assert kept == given
        assert Counter(d.reason for d in dropped) == {Reason.DUPLICATE: 2}

    def test_a_share_of_the_hardly_parallel_is_kept_undivided(self, tmp_path: Path) -> None:
        given = candidates(40)
        wanted = Selection(least_ratio=99, keep_sequential=0.5)
        kept, dropped = chosen(given, wanted, tmp_path)
        assert 8 < len(kept) < 32
        assert len(kept) + len(dropped) == 40
        assert all(c.undivided and not c.sample.executions for c in kept)
        (stage,) = kept[0].transcript.stages
        assert stage.executions == ()
        assert kept[0].trajectory.text.strip() in stage.turn

    async def test_a_chain_is_kept_undivided_however_many_stages_it_has(
        self, tmp_path: Path
    ) -> None:
        steps = [
            Component(n, prompt="p", execution="x" * 50, parents=frozenset({n - 1} - {0}))
            for n in range(1, 13)
        ]
        given = Annotated(Trajectory("What?", "It is 7.", "7"), tuple(steps))
        chain = Candidate(await pack_leak_free(given, Packing(shortest_execution=1)))
        assert chain.packed is not None
        assert len(chain.packed.stages) == 12
        _, (dropped,) = chosen([chain], Selection(), tmp_path)
        assert dropped.reason is Reason.RATIO
        # Long is what it is divided into, and not what is kept.
        wanted = Selection(
            keep_sequential=1, longest=len(replace(chain, undivided=True).transcript.text)
        )
        (kept,), _ = chosen([chain], wanted, tmp_path)
        assert kept.undivided
        assert wanted.longest is not None
        shorter = replace(wanted, longest=wanted.longest - 1)
        _, (dropped,) = chosen([chain], shorter, tmp_path)
        assert dropped.reason is Reason.LENGTH

    def test_the_best_is_the_best_by_the_ratio_that_is_wanted(self, tmp_path: Path) -> None:
        one = Component(1, prompt="p", execution="Work.")
        thought = tuple(Component(n, plan=f"Thought {n}.") for n in range(2, 6))
        given = [
            Candidate(Packed(Annotated(Trajectory("What?", text, "7"), stage), (stage,)))
            for text, stage in (
                ("executes", (one, replace(one, number=2))),
                ("thinks", (one, *thought)),
            )
        ]
        for wanted, best in (
            (Selection(least_ratio=1), "executes"),
            (Selection(least_ratio=1, ratio="steps"), "thinks"),
        ):
            (kept,), _ = chosen(given, wanted, tmp_path)
            assert kept.trajectory.text == best

    def test_shares_are_the_same_everywhere(self) -> None:
        inside = [in_share(f"key {n}", 0.1, "validation") for n in range(2000)]
        assert 150 < sum(inside) < 250
        assert in_share("any", 1.0, "x")
        assert not in_share("any", 0.0, "x")

    def test_samples_are_rendered_for_training_and_validation(self, tmp_path: Path) -> None:
        jsonl.write(candidates(30), tmp_path / "selected.jsonl")
        paths = [tmp_path / f"{name}.jsonl" for name in ("train", "validation", "rft")]
        with Writer(paths[0]) as train, Writer(paths[1]) as validation:
            render(tmp_path / "selected.jsonl", train, validation, 0.3)
        assert train.count + validation.count == 30
        assert 2 < validation.count < 18
        for path in paths[:2]:
            for sample in jsonl.read(path, Sample):
                assert parse(sample.transcript.text) == sample.transcript
                assert sample.planner
                assert "1.1" in sample.executions
