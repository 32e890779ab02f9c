"""The Countdown benchmark: which puzzles it draws, and how their runs are told apart."""

from __future__ import annotations

import pytest

from benchmarks import countdown as bench
from benchmarks.countdown import Measured
from sprint_agent import Sprint
from sprint_agent.countdown import PuzzleSpace, reachable, split
from sprint_agent.testing import ScriptedEngine
from tests.script import answer

SPACES = {name: PuzzleSpace.parse(name) for name in ("4:99", "5")}


def test_puzzles_are_of_the_test_split_and_of_all_spaces_in_turn() -> None:
    drawn = bench.held_out(20, list(SPACES.values()), seed=1)
    assert [len(puzzle.numbers) for puzzle in drawn] == [4, 5] * 10
    assert all(split(puzzle) == "test" for puzzle in drawn)
    assert all(p.target in reachable(p.numbers, p.target, p.target) for p in drawn)
    assert max(max(p.numbers) for p in drawn[::2]) > 13 >= max(max(p.numbers) for p in drawn[1::2])
    assert drawn == bench.held_out(20, list(SPACES.values()), seed=1)


@pytest.mark.anyio
async def test_figures_are_those_of_a_space_of_a_method_and_of_a_quarter() -> None:
    drawn = bench.held_out(8, list(SPACES.values()), seed=1)
    runs: list[Measured] = []
    for number, puzzle in enumerate(drawn):
        # A longer answer each time, so that the quarters are known.
        engine = ScriptedEngine(lambda prompt, n=number: answer("1 + " * n + "1"))
        result = await Sprint(engine).solve(puzzle.question)
        runs += [Measured("sprint", puzzle, None), Measured("rft", puzzle, result)]
    by_method = bench.by_method(runs)
    assert list(by_method) == ["sprint", "rft"]
    assert (by_method["sprint"].errors, by_method["rft"].errors) == (8, 0)
    by_space = bench.by_space(runs, list(SPACES))
    assert [of["rft"].puzzles for of in by_space.values()] == [4, 4]
    # Every other puzzle, beginning with the shortest answer.
    assert by_space["4:99"]["rft"].sequential_tokens < by_space["5"]["rft"].sequential_tokens
    quarters = bench.by_quarter(runs)
    assert [quarter["sprint"].puzzles for quarter in quarters] == [2] * 4
    lengths = [quarter["rft"].sequential_tokens for quarter in quarters]
    assert lengths == sorted(lengths)
    # What outgrew its context is among the longest, and has taken all of that.
    over = [Measured("rft", runs[0].puzzle, None) if n == 1 else run for n, run in enumerate(runs)]
    longest = bench.by_quarter(over)[-1]["rft"]
    assert (longest.puzzles, longest.errors) == (2, 1)
    last = runs[-1].result
    assert last is not None
    assert longest.sequential_tokens == (bench.CONTEXT + last.usage.sequential_tokens) / 2
    assert bench.by_quarter([run for run in runs if run.method == "sprint"]) == []
