"""The steps of a run: the best candidate on each question is selected, and samples are written."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from curate.candidate import Candidate
from curate.countdown import CountdownData, symbolic
from curate.countdown import puzzles as countdown_puzzles
from curate.drops import DroppedRecord, Reason
from curate.files import jsonl
from curate.files.jsonl import Writer
from curate.pack.leak_free import Packing, pack_leak_free
from curate.pack.stages import Packed
from curate.run import render, select
from curate.samples import Sample
from curate.select import Selection
from curate.trajectory import Annotated, Component, Trajectory
from sprint_agent.protocol.transcript import parse
from tests.curated import SMALL

pytestmark = pytest.mark.anyio


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
