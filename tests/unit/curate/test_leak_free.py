"""Packing without leaks: dependent work is in different stages, no text is lost, leaks add edges."""

from __future__ import annotations

import re
from collections import Counter

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.candidate import Candidate
from curate.drops import Dropped, Reason
from curate.pack import values
from curate.pack.leak_free import Packing, pack_leak_free
from curate.pack.leaks import Leak
from curate.trajectory import Annotated, Component, Trajectory
from sprint_agent.protocol.transcript import parse

pytestmark = pytest.mark.anyio


@st.composite
def random_annotated(draw: st.DrawFn, *, used_by_executions: bool = True) -> Annotated:
    """Random components. Some have executions, of any length, and some use what others found."""
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


class TestRandomComponents:
    @settings(max_examples=150, deadline=None)
    @given(random_annotated())
    def test_the_stages_follow_the_formula(self, given: Annotated) -> None:
        found = anyio.run(pack_leak_free, given, Packing())
        at = stage_of(found.stages)
        executes = {c.number for stage in found.stages for c in stage if c.execution}
        for component in found.annotated.components:
            waits = [at[p] + (p in executes) for p in component.parents]
            assert at[component.number] == max(waits, default=1)

    @settings(max_examples=150, deadline=None)
    @given(random_annotated())
    def test_no_text_is_lost_and_the_run_can_be_parsed(self, given: Annotated) -> None:
        found = anyio.run(pack_leak_free, given, Packing())
        run = Candidate(packed=found).transcript
        assert parse(run.text) == run
        for line in given.trajectory.text.splitlines():
            assert run.text.count(line) >= given.trajectory.text.count(line)

    @settings(max_examples=150, deadline=None)
    @given(random_annotated())
    def test_an_execution_uses_what_earlier_stages_found(self, given: Annotated) -> None:
        found = anyio.run(pack_leak_free, given, Packing())
        at = stage_of(found.stages)
        executing = [c for stage in found.stages for c in stage if c.execution]
        for component in executing:
            (used,) = re.findall(r"With (\d+)", component.execution)
            finder = next((c for c in executing if c.number == int(used) - 500), component)
            if finder is not component:
                assert at[finder.number] < at[component.number]

    @settings(max_examples=150, deadline=None)
    @given(random_annotated(used_by_executions=False))
    def test_a_comment_uses_what_was_found_before_its_plan(self, given: Annotated) -> None:
        found = anyio.run(pack_leak_free, given, Packing())
        at = stage_of(found.stages)
        for component in (c for stage in found.stages for c in stage if c.comment):
            (used,) = re.findall(r"less than (\d+)", component.comment)
            finder = next(c for c in found.annotated.components if c.number == int(used) - 500)
            # The plan of the next stage begins with the comment.
            assert not finder.execution or at[finder.number] <= at[component.number]


def annotated(*components: Component) -> Annotated:
    return Annotated(Trajectory("What?", "", "7"), components)


class FakeFinder:
    """Finds the same leaks at each call."""

    def __init__(self, *leaks: Leak) -> None:
        self.calls: list[list[list[int]]] = []
        self._leaks = leaks

    async def leaks(
        self, given: Trajectory, stages: tuple[tuple[Component, ...], ...]
    ) -> tuple[Leak, ...]:
        self.calls.append([[c.number for c in stage] for stage in stages])
        return self._leaks


def numbers(stages: tuple[tuple[Component, ...], ...]) -> list[list[int]]:
    return [[c.number for c in stage] for stage in stages]


FIRST = Component(1, prompt="a", execution="One. Two. So 1 + 1 = 517.")
SECOND = Component(2, prompt="b", execution="Use 517. Two. So 2 + 2 = 618.")
THIRD = Component(3, prompt="c", execution="Use 618. Two. Three.")


async def test_edges_are_added_until_no_leak_is_left() -> None:
    packed = await pack_leak_free(annotated(FIRST, SECOND, THIRD), Packing())
    assert packed.leaks == (Leak(2, 1, "517"), Leak(3, 2, "618"))
    assert numbers(packed.stages) == [[1], [2], [3]]
    assert [sorted(c.parents) for c in packed.annotated.components] == [[], [1], [2]]


async def test_independent_components_stay_in_one_stage() -> None:
    other = Component(2, prompt="b", execution="Three. Four. Five.")
    given = annotated(FIRST, other)
    packed = await pack_leak_free(given, Packing())
    assert packed.annotated == given
    assert (packed.leaks, numbers(packed.stages)) == ((), [[1, 2]])


async def test_a_leak_can_drop_the_trajectory() -> None:
    with pytest.raises(Dropped, match="component 2 uses '517'") as caught:
        await pack_leak_free(annotated(FIRST, SECOND), Packing(on_leak="drop"))
    assert caught.value.reason is Reason.LEAK


async def test_the_finder_is_asked_once_after_the_values() -> None:
    finder = FakeFinder(Leak(3, 1, "that it fails"))
    third = Component(3, prompt="c", execution="It. Fails. Too.")
    packed = await pack_leak_free(annotated(FIRST, SECOND, third), Packing(leak_finder=finder))
    assert finder.calls == [[[1, 3], [2]]]
    assert packed.leaks == (Leak(2, 1, "517"), Leak(3, 1, "that it fails"))
    assert numbers(packed.stages) == [[1], [2, 3]]


async def test_the_leaks_of_the_finder_can_drop_the_trajectory_too() -> None:
    finder = FakeFinder(Leak(2, 1, "that it fails"))
    other = Component(2, prompt="b", execution="Three. Four. Five.")
    with pytest.raises(Dropped, match="that it fails"):
        await pack_leak_free(annotated(FIRST, other), Packing(on_leak="drop", leak_finder=finder))


async def test_short_executions_are_no_executions() -> None:
    """The number of sentences decides whether a component is a sibling at all."""
    given = annotated(FIRST, SECOND)
    packed = await pack_leak_free(given, Packing(shortest_execution=9))
    assert numbers(packed.stages) == [[1, 2]]
    assert packed.leaks == ()


async def test_each_text_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: Counter[str] = Counter()
    original = values.values

    def counting(text: str) -> tuple[values.Value, ...]:
        read[text] += 1
        return original(text)

    monkeypatch.setattr(values, "values", counting)
    count = 443
    chain = [
        Component(
            n,
            plan=f"Step {n}.",
            prompt=f"Do {n}",
            execution=f"Use {n + 999}. Two. So 1 + {n} = {n + 1000}.",
            comment=f"Remark {n}.",
            parents=frozenset({n - 20} if n > 20 else ()),
        )
        for n in range(1, count + 1)
    ]
    packed = await pack_leak_free(annotated(*chain), Packing())
    assert len(packed.stages) == count
    assert set(read.values()) == {1}
