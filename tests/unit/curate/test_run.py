"""The steps of a run: the best candidate on each question is selected, and samples are written."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import anyio
import pytest

from curate.candidate import Candidate
from curate.countdown import CountdownData, symbolic
from curate.countdown import puzzles as countdown_puzzles
from curate.drops import Dropped, DroppedRecord, Reason
from curate.files import jsonl
from curate.files.jsonl import Writer
from curate.options import AnnotatorOptions, PackingOptions
from curate.pack.leak_free import Packing, pack_leak_free
from curate.pack.stages import Packed
from curate.run import (
    SymbolicAnnotator,
    annotator_session,
    map_trajectories,
    packing_rules,
    render,
    select,
)
from curate.samples import Sample
from curate.select import Selection
from curate.trajectory import Annotated, Component, Trajectory
from sprint_agent.protocol.transcript import parse
from tests.curated import SMALL

pytestmark = pytest.mark.anyio


def searched(count: int) -> list[Trajectory]:
    """Returns `count` of the searcher's trajectories."""
    puzzles = countdown_puzzles(CountdownData(spaces=SMALL), "train")
    written = (symbolic.trajectory(puzzle) for puzzle in puzzles)
    return list(islice((one for one in written if one is not None), count))


def candidates(count: int) -> list[Candidate]:
    """Returns the same trajectories, packed."""
    rules = Packing(shortest_execution=1)
    annotated = map(symbolic.annotate, searched(count))
    return [Candidate(anyio.run(pack_leak_free, given, rules)) for given in annotated]


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
    def test_the_best_on_each_question_is_kept(self, tmp_path: Path) -> None:
        given = candidates(3)
        packed = given[0].packed
        assert packed is not None
        longer = replace(given[0], packed=replace(packed, stages=packed.stages * 2))
        kept, dropped = chosen([longer, *given, given[1]], Selection(), tmp_path)
        assert kept == given
        assert Counter(d.reason for d in dropped) == {Reason.DUPLICATE: 2}

    def test_a_share_of_the_hardly_parallel_ones_is_kept_unsplit(self, tmp_path: Path) -> None:
        given = candidates(40)
        wanted = Selection(least_ratio=99, keep_sequential=0.5)
        kept, dropped = chosen(given, wanted, tmp_path)
        assert 8 < len(kept) < 32
        assert len(kept) + len(dropped) == 40
        assert all(c.unsplit and not c.sample.executions for c in kept)
        (stage,) = kept[0].transcript.stages
        assert stage.executions == ()
        assert kept[0].trajectory.text.strip() in stage.turn

    async def test_a_chain_is_kept_unsplit_however_many_stages_it_has(self, tmp_path: Path) -> None:
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
        # The length of the unsplit text counts, not that of the stages.
        wanted = Selection(
            keep_sequential=1, longest=len(replace(chain, unsplit=True).transcript.text)
        )
        (kept,), _ = chosen([chain], wanted, tmp_path)
        assert kept.unsplit
        assert wanted.longest is not None
        shorter = replace(wanted, longest=wanted.longest - 1)
        _, (dropped,) = chosen([chain], shorter, tmp_path)
        assert dropped.reason is Reason.LENGTH

    def test_the_wanted_ratio_decides_which_is_the_best(self, tmp_path: Path) -> None:
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


def test_samples_are_rendered_for_training_and_validation(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("count", [2, 6])
def test_a_few_trajectories_are_enough_for_validation(count: int, tmp_path: Path) -> None:
    jsonl.write(candidates(count), tmp_path / "selected.jsonl")
    files = [Writer(tmp_path / f"{name}.jsonl") for name in ("train", "validation")]
    with files[0] as train, files[1] as validation:
        render(tmp_path / "selected.jsonl", train, validation, 0.05)
    assert validation.count == 1
    assert train.count == count - 1


class TestSession:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (AnnotatorOptions(annotator="recorded"), "needs --annotations"),
            (AnnotatorOptions(), "set OPENAI_API_KEY"),
        ],
    )
    async def test_missing_options_are_named(
        self,
        options: AnnotatorOptions,
        message: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        with pytest.raises(ValueError, match=message):
            async with annotator_session(options, tmp_path):
                pass

    async def test_without_options_there_is_no_annotator(self, tmp_path: Path) -> None:
        async with annotator_session(None, tmp_path) as session:
            assert session.annotator is None
            assert session.spent is session.cost is None

    async def test_the_symbolic_annotator_drops_what_the_searcher_did_not_write(self) -> None:
        with pytest.raises(Dropped, match="unreadable record"):
            await SymbolicAnnotator().annotate(Trajectory("What?", "So.", "4"))

    def test_only_a_model_is_asked_for_leaks(self) -> None:
        assert packing_rules(PackingOptions(), SymbolicAnnotator()).leak_finder is None
        with pytest.raises(ValueError, match="--ask-leaks needs a model"):
            packing_rules(PackingOptions(ask_leaks=True), SymbolicAnnotator())


async def test_the_map_writes_files_and_removes_an_old_cost(tmp_path: Path) -> None:
    (tmp_path / "cost.json").write_text("{}")
    right, wrong = searched(2)
    with Writer(tmp_path / "packed.jsonl") as kept, Writer(tmp_path / "dropped.jsonl") as dropped:
        seen: list[int] = []
        await map_trajectories(
            [replace(wrong, claimed="1 + 1"), right],
            AnnotatorOptions(annotator="symbolic"),
            "countdown",
            PackingOptions(shortest_execution=1),
            kept,
            dropped,
            lambda session: lambda outcome: seen.append(outcome.position),
        )
    assert sorted(seen) == [0, 1]
    assert [c.trajectory for c in jsonl.read(kept.path, Candidate)] == [right]
    (line,) = jsonl.read(dropped.path, DroppedRecord)
    assert (line.step, line.reason) == ("grade", Reason.WRONG)
    assert not (tmp_path / "cost.json").exists()
