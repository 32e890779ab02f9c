"""Packing without leaks: dependent work is in different stages, and no text is lost."""

from __future__ import annotations

import re

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.candidate import Candidate
from curate.drops import Dropped
from curate.pack.leak_free import Packing, pack_leak_free
from curate.pack.leaks import Leak
from curate.trajectory import Annotated, Component, Trajectory
from sprint_agent.protocol.transcript import parse

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
    def test_a_child_is_in_a_later_stage_than_its_executing_parent(self, given: Annotated) -> None:
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

    async def test_a_leak_drops_the_trajectory_if_wanted(self) -> None:
        one = Component(1, prompt="a", execution="One. Two. So 1 + 1 = 517.")
        two = Component(2, prompt="b", execution="Use 517. Two. Three.")
        given = Annotated(Trajectory("What?", "", "7"), (one, two))
        mended = await pack_leak_free(given, Packing())
        assert mended.leaks == (Leak(2, 1, "517"),)
        assert len(mended.stages) == 2
        with pytest.raises(Dropped, match="2 uses '517'"):
            await pack_leak_free(given, Packing(on_leak="drop"))

    async def test_a_model_is_asked_once_for_leaks_that_values_do_not_show(self) -> None:
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
