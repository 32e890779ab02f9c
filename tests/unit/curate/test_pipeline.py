"""The map over trajectories: each item has one outcome, in the order of the input."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from curate.drops import Dropped, Reason, SkippedRecord
from curate.grade.graders import NoGrader
from curate.pack.leak_free import Packing
from curate.pipeline import Outcome, Pipeline, ReorderBuffer, process
from curate.read.traces import TracedRun
from curate.trajectory import Annotated, Component, Trajectory
from sprint_agent.protocol.transcript import Transcript

pytestmark = pytest.mark.anyio


class ScriptedGrader:
    async def grade(self, given: Trajectory) -> bool:
        if given.answer == "?":
            raise Dropped(Reason.UNGRADED, "unclear")
        return given.answer != "0"


class ScriptedAnnotator:
    async def annotate(self, given: Trajectory) -> Annotated:
        if given.text == "bad":
            raise Dropped(Reason.CYCLE, "2 needs 3")
        # Later items are ready sooner.
        for _ in range(20 - int(given.source)):
            await anyio.lowlevel.checkpoint()
        return Annotated(given, (Component(1, plan=given.text),))


async def outcomes(
    items: list[Trajectory | TracedRun | SkippedRecord], folder: Path
) -> list[Outcome]:
    pipeline = Pipeline(ScriptedAnnotator(), ScriptedGrader(), Packing())
    with ReorderBuffer(folder) as buffer, anyio.fail_after(20):
        await process(items, pipeline, 4, buffer.write)
        return list(buffer.read())


async def test_each_item_has_one_outcome_in_the_order_of_the_input(tmp_path: Path) -> None:
    items: list[Trajectory | TracedRun | SkippedRecord] = [
        Trajectory(f"q{n}", f"text {n}", "7", str(n)) for n in range(20)
    ]
    items[3] = SkippedRecord("3", Reason.UNREADABLE, "no question")
    items[5] = Trajectory("q5", "text", "0", "5")
    items[7] = Trajectory("q7", "text", "?", "7")
    items[9] = Trajectory("q9", "bad", "7", "9")
    results = await outcomes(items, tmp_path)
    assert [outcome.position for outcome in results] == list(range(20))
    assert {o.position: (o.dropped.step, o.dropped.reason) for o in results if o.dropped} == {
        3: ("read", Reason.UNREADABLE),
        5: ("grade", Reason.WRONG),
        7: ("grade", Reason.UNGRADED),
        9: ("annotate", Reason.CYCLE),
    }
    kept = [o.candidate.trajectory for o in results if o.candidate]
    assert kept == [item for n, item in enumerate(items) if n not in (3, 5, 7, 9)]


async def test_a_run_needs_no_annotator() -> None:
    run = TracedRun(Trajectory("q", "t", "7"), Transcript("q", (), "7"), {})
    results: list[Outcome] = []
    await process([run], Pipeline(None, NoGrader(), None), 1, results.append)
    assert [o.candidate.run for o in results if o.candidate] == [run]


async def test_an_error_that_is_not_about_a_trajectory_ends_the_run() -> None:
    class BrokenAnnotator:
        async def annotate(self, given: Trajectory) -> Annotated:
            raise RuntimeError("no endpoint")

    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError)):
        await process(
            [Trajectory("q", "t", "7")],
            Pipeline(BrokenAnnotator(), NoGrader(), Packing()),
            1,
            lambda _: None,
        )


def test_the_buffer_leaves_no_file_in_its_folder(tmp_path: Path) -> None:
    with ReorderBuffer(tmp_path / "new") as buffer:
        for position in (2, 0, 1):
            buffer.write(Outcome(position, None, None))
        assert [outcome.position for outcome in buffer.read()] == [0, 1, 2]
    assert list((tmp_path / "new").iterdir()) == []
