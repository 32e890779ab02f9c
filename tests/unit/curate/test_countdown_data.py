"""The searcher's trajectories and what is learned from them: all of their text is true."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from itertools import chain, combinations, islice, pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate import samples
from curate.countdown import (
    CountdownData,
    drilled,
    drills,
    rft_sample,
    rft_samples,
    run_sample,
    runs,
    search_sample,
    searcher,
    sprint_samples,
    symbolic,
    trajectories,
)
from curate.pack.stages import pack
from curate.render import first_success, sequential, without_notes
from curate.trajectory import Trajectory
from sprint_agent.countdown import Puzzle, claim, evaluate, generate, split, verify
from sprint_agent.countdown.puzzle import PuzzleSpace
from sprint_agent.protocol import tags
from sprint_agent.result import Verdict
from tests.curated import SMALL

PUZZLE = Puzzle((3, 5, 7, 11), 24)


def trajectory(puzzle: Puzzle = PUZZLE) -> Trajectory:
    found = symbolic.trajectory(puzzle)
    assert found is not None
    return found


class TestSearcher:
    def test_every_equation_of_a_trajectory_is_true(self) -> None:
        text = trajectory().text
        equations = re.findall(r"(\d+ [-+*/] \d+) = (\d+)", text)
        assert len(equations) > 20
        assert all(evaluate(left) == int(right) for left, right in equations)

    def test_every_leaf_is_true_and_a_hit_is_seen(self) -> None:
        for line in trajectory().text.splitlines():
            node = re.fullmatch(r"\d+ . \d+ = (\d+), and (\d+):(.*?)( yes)?\.", line)
            if node is None:
                continue
            large, small = sorted((int(node[1]), int(node[2])), reverse=True)
            leaves = re.findall(r"([-+*/]) (\d+)", node[3])
            for operation, value in leaves:
                assert evaluate(f"{large} {operation} {small}") == int(value)
            assert ("24" in [value for _, value in leaves]) == bool(node[4])

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 10_000))
    def test_its_answers_are_right(self, seed: int) -> None:
        puzzle = next(iter(generate(PuzzleSpace(count=3 + seed % 2), "train", seed)))
        found = symbolic.trajectory(puzzle)
        assert found is None or verify(found.answer, puzzle)

    def test_it_solves_nearly_all_puzzles(self) -> None:
        for space, least in (
            (PuzzleSpace(count=4), 1.0),
            (PuzzleSpace(count=4, high=99), 0.95),
            (PuzzleSpace(count=5), 1.0),
        ):
            drawn = list(islice(generate(space, "test", 0), 100))
            found = [written for puzzle in drawn if (written := searcher.write(puzzle))]
            assert len(found) >= least * len(drawn)

    @pytest.mark.parametrize(
        ("puzzle", "hit"),
        [
            (Puzzle((7, 7, 8, 8), 7), "7 * 0 = 0, and 7: + 7 yes."),
            (Puzzle((99, 18, 75, 71), 22), "75 - 71 = 4, and 11/2: * 22 yes."),
        ],
    )
    def test_it_follows_zeros_and_reduced_quotients(self, puzzle: Puzzle, hit: str) -> None:
        written = searcher.write(puzzle)
        assert written is not None
        assert verify(written[1], puzzle)
        assert written[0].splitlines()[-2] == hit

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(1, 30), min_size=3, max_size=5))
    def test_a_dead_end_has_a_reason(self, numbers: list[int]) -> None:
        groups = searcher.openings(Puzzle(tuple(numbers), 24))
        names = "abcdef"[: len(numbers)]
        for (_, operations), group in zip(searcher.GROUPS, groups, strict=True):
            pairs = combinations(names, 2)
            tasks = [f"{first} {o} {second}" for first, second in pairs for o in operations]
            assert [opening.task for opening in group] == tasks
        tried: set[tuple[int | Fraction, str, int | Fraction]] = set()
        for opening in chain(*groups):
            made = opening.remaining[-1].made
            assert made is not None
            first, operation, second = made[0].value, made[1], made[2].value
            exact = evaluate(f"{first} {operation} {second}")
            reasons = {
                "as before": (first, operation, second) in tried,
                "not whole": exact.denominator > 1
                and (len(numbers) != 4 or exact.denominator == second),
                "too large": exact > searcher.CAP,
                "no use": (exact == 0 and len(numbers) > 4) or (operation == "/" and second == 1),
            }
            assert not opening.dead_end if not any(reasons.values()) else reasons[opening.dead_end]
            tried.add((first, operation, second))

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 10_000))
    @example(4269)
    def test_an_expression_is_derived_one_step_at_a_time(self, seed: int) -> None:
        puzzle = next(iter(generate(PuzzleSpace(count=4), "train", seed)))
        written = searcher.write(puzzle)
        if written is None:
            return
        line = written[0].splitlines()[-1]
        forms = line.removeprefix("Answer: ").replace("\\boxed{", "").rstrip("}").split(" = ")
        assert forms[-1] == written[1]
        assert all(evaluate(form) == puzzle.target for form in forms)
        for before, after in pairwise(forms):
            # A reduced quotient, 4/3, is one number; a division has spaces: 12 / 9.
            numbers = [len(re.findall(r"\d+(?:/\d+)?", form)) for form in (before, after)]
            assert numbers[1] == numbers[0] + 1

    def test_it_gives_up_if_there_is_no_solution(self) -> None:
        assert symbolic.trajectory(Puzzle((1, 1, 1, 1), 100)) is None


class TestAnnotation:
    def test_the_visited_components_contain_the_whole_text(self) -> None:
        given_text = trajectory().text
        visited = [c for c in symbolic.annotate(trajectory()).components if c.visited]
        text = "".join(f"{c.plan}{c.prompt}{' ' if c.prompt else ''}{c.execution}" for c in visited)
        assert text == given_text

    def test_the_second_group_depends_on_the_whole_first_one(self) -> None:
        made = trajectories(CountdownData(spaces=SMALL, trajectories=40), "train")
        packed = next(p for p in made if len(p.stages) == 2)
        head = packed.stages[1][0]
        assert head.parents == {c.number for c in packed.stages[0][1:]}


def test_a_smaller_mixture_is_the_same_mixture() -> None:
    data = CountdownData(spaces=SMALL, trajectories=100, runs=20, searches=40).scaled(50)
    packed = list(trajectories(data, "validation"))
    planned = [sample.planner for sample in sprint_samples(packed, [], data, len)]
    assert (planned.count(True), planned.count(False)) == (10, 20)
    assert len(list(sprint_samples(packed, [], replace(data, searches=0), len))) == 10


@pytest.mark.parametrize(
    ("drawn", "kept"),
    [(15, (15, 15, 6)), (30, (20, 30, 12)), (100, (20, 40, 40)), (200, (40, 80, 80))],
)
def test_of_few_trajectories_a_larger_share_are_runs(
    drawn: int, kept: tuple[int, int, int]
) -> None:
    recipe = CountdownData(trajectories=100, runs=20, searches=40, drills=40)
    data = recipe.drawn_from(drawn)
    assert data.trajectories == drawn
    assert (data.runs, data.searches, data.drills) == kept


@given(st.integers(1, 40), st.integers(0, 100))
def test_drills_are_spread_evenly_and_none_is_lost(many: int, among: int) -> None:
    one, other = trajectories(CountdownData(spaces=SMALL, trajectories=2), "train")
    data = CountdownData(spaces=SMALL, trajectories=many, runs=0, searches=many)
    sprint = list(sprint_samples([one] * many, [other] * among, data, len))
    rft = list(rft_samples([one] * many, [other] * among))
    assert sprint.count(search_sample(one)) == rft.count(rft_sample(one)) == many
    assert sprint.count(search_sample(other)) == rft.count(rft_sample(other)) == among
    places = [place for place, sample in enumerate(rft) if sample == rft_sample(one)]
    assert places == [at for at, sample in enumerate(sprint) if sample == search_sample(one)]
    gaps = [after - before for before, after in pairwise(places)]
    assert max(gaps, default=0) - min(gaps, default=0) <= 1


class TestDrills:
    QUOTIENT = Puzzle((33, 69, 91, 78), 42)

    def test_it_begins_with_quotients_as_the_puzzle_itself_does(self) -> None:
        made = drills.drill(self.QUOTIENT)
        assert made is not None
        given = made.trajectory
        assert given.question == "Use 33, 69, 91 and 78 to make 42, by a quotient first."
        assert verify(given.answer, self.QUOTIENT)
        lines = given.text.splitlines(keepends=True)
        assert lines[:2] == ["a 91, b 78, c 69, d 33 to 42.\n", drills.GROUP]
        own = searcher.search(searcher.openings(self.QUOTIENT)[1][1], 42)
        assert "".join(lines[2:]) == f"a / b {own.text}"

    def test_executors_learn_every_quotient_and_rft_what_comes_before_the_hit(self) -> None:
        data = CountdownData(trajectories=1, drills=8)
        for packed in drilled(data, "train"):
            question = packed.annotated.trajectory.question
            puzzle = Puzzle.parse(question.replace(drills.ASKED, ""))
            assert split(puzzle) == "train"
            assert max(puzzle.numbers) > 13
            found = [
                searcher.search(opening, puzzle.target).text
                for opening in chain(*searcher.openings(puzzle))
                if "/" in opening.task
            ]
            assert list(search_sample(packed).executions.values()) == found
            text = rft_sample(packed).transcript.text
            hit = next(number for number, text in enumerate(found) if claim(text))
            assert [execution in text for execution in found[: hit + 1]] == [True] * (hit + 1)

    def test_there_is_none_if_no_quotient_leads_to_the_target(self) -> None:
        assert drills.drill(Puzzle((33, 69, 91, 78), 97)) is None
        assert drilled(CountdownData(spaces=((PuzzleSpace(count=3), 1),)), "train") == []


class TestRendering:
    def test_the_earliest_success_is_accepted(self) -> None:
        packed = pack(symbolic.annotate(trajectory()), shortest_execution=1)
        transcript = first_success(packed, claim, len, lambda: 0)
        executions = transcript.stages[0].executions
        assert sum(claim(text) is not None for text in executions) == 1
        assert tags.STOPPED in executions
        prompts = transcript.stages[0].turn.count("</prompt_")
        assert prompts == len(executions)
        verdict = transcript.stages[0].verdict
        assert verdict is not None
        assert verdict.accepted is not None
        assert claim(executions[verdict.accepted - 1]) == verdict.remark
        assert tags.boxed(transcript.answer) == verdict.remark

    def test_the_answer_is_the_one_from_the_last_stage(self) -> None:
        for packed in trajectories(CountdownData(spaces=SMALL, trajectories=30), "train"):
            puzzle = Puzzle.parse(packed.annotated.trajectory.question)
            for transcript in (
                without_notes(packed, claim),
                first_success(packed, claim, len, lambda: 0),
                sequential(packed.annotated.trajectory),
            ):
                assert verify(tags.boxed(transcript.answer), puzzle)

    def test_executors_learn_from_hits_and_from_misses(self) -> None:
        data = CountdownData(spaces=SMALL, trajectories=80)
        stages: set[str] = set()
        for number, packed in enumerate(trajectories(data, "train")):
            text = packed.annotated.trajectory.text
            puzzle = Puzzle.parse(packed.annotated.trajectory.question)
            sample = run_sample(packed, data, len, number)
            visited = [c for stage in packed.stages for c in stage if c.prompt and c.visited]
            assert list(sample.executions.values()) == [c.execution for c in visited]
            hits = [claim(e) for e in sample.executions.values() if claim(e) is not None]
            assert len(hits) <= 1
            assert all(verify(hit or "", puzzle) for hit in hits)
            assert all(execution in text for execution in sample.executions.values())
            stages |= {name.partition(".")[0] for name in sample.executions}
        assert stages == {"1", "2"}

    def test_from_some_trajectories_only_executors_learn(self) -> None:
        data = CountdownData(spaces=SMALL, trajectories=40, runs=10, searches=20)
        packed = list(trajectories(data, "train"))
        made = list(sprint_samples(packed, [], data, len))
        assert [sample.planner for sample in made] == [False, True, False] * 10
        alone = [sample for sample in made if not sample.planner]
        for sample, trajectory in zip(alone, packed[20:], strict=True):
            assert sample == search_sample(trajectory)
            assert all(name.startswith("1.") for name in sample.executions)
            visited = [c for c in trajectory.stages[0] if c.prompt and c.visited]
            assert [c.execution for c in visited] == list(sample.executions.values())

    def test_a_share_of_the_runs_waits_for_all(self) -> None:
        data = CountdownData(spaces=SMALL, trajectories=200, waiting_every=4)
        waits = 0
        for number, packed in enumerate(trajectories(data, "train")):
            stages = run_sample(packed, data, len, number).transcript.stages
            waits += stages[-1].verdict is None
            assert len({stage.verdict is None for stage in stages}) == 1
            if stages[-1].verdict and stages[-1].verdict.accepted:
                assert all(stage.verdict == Verdict(None) for stage in stages[:-1])
        assert 30 < waits < 70

    def test_a_planner_reads_claims_that_were_not_accepted(self) -> None:
        data = CountdownData(spaces=SMALL, trajectories=60, mistaken_every=1, waiting_every=10**6)
        false = 0
        for number, packed in enumerate(trajectories(data, "train")):
            puzzle = Puzzle.parse(packed.annotated.trajectory.question)
            sample = run_sample(packed, data, len, number)
            for stage in sample.transcript.stages:
                claims = {k: claim(text) for k, text in enumerate(stage.executions, 1)}
                false += sum(c is not None and not verify(c, puzzle) for c in claims.values())
                accepted = stage.verdict and stage.verdict.accepted
                assert not accepted or verify(claims[accepted] or "", puzzle)
            assert verify(tags.boxed(sample.transcript.answer), puzzle)
            learned = sample.executions.values()
            assert all(verify(c, puzzle) for text in learned if (c := claim(text)) is not None)
        assert false > 20

    def test_runs_of_two_stages_are_spread_evenly(self) -> None:
        packed = list(trajectories(CountdownData(spaces=SMALL, trajectories=60), "train"))
        stages = [len(p.stages) for p in runs(packed, CountdownData(runs=12, late_every=3))]
        assert [n > 1 for n in stages] == [True, False, False] * 4
        assert len(list(runs(packed, CountdownData()))) == 60

    def test_samples_are_written_and_read_back(self, tmp_path: Path) -> None:
        data = CountdownData(spaces=SMALL, trajectories=8)
        made = list(sprint_samples(list(trajectories(data, "train")), [], data, len))
        path = tmp_path / "samples.jsonl"
        assert samples.write(made, path) == len(made)
        assert list(samples.read(path)) == made
        cut = [s for s in made if s.transcript.stages and s.transcript.stages[-1].turn[-1] == ">"]
        assert cut

    def test_a_corrupt_line_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "samples.jsonl"
        path.write_text('{"transcript": "nonsense"}\n')
        with pytest.raises(ValueError, match="line 1: not a sample"):
            list(samples.read(path))

    def test_all_puzzles_are_from_the_wanted_split(self) -> None:
        for packed in trajectories(CountdownData(spaces=SMALL, trajectories=40), "train"):
            assert split(Puzzle.parse(packed.annotated.trajectory.question)) == "train"
