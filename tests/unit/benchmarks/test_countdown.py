"""The Countdown benchmark: the puzzles that it draws, the runs that it keeps, and their summaries."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

import anyio
import pytest

from benchmarks import countdown as bench
from benchmarks import puzzle_runs
from benchmarks.puzzle_runs import KeptRuns, PuzzleRun
from sprint_agent import Sprint, SprintError
from sprint_agent.countdown import Puzzle, PuzzleSpace, reachable, solver, split
from sprint_agent.engine import TokenUsage
from sprint_agent.limits import Limits
from sprint_agent.result import Result

MODELS = {"sprint": solver.MODEL, "rft": bench.RFT_MODEL}
SPACES = {name: PuzzleSpace.parse(name) for name in ("4:99", "5")}


def test_puzzles_come_from_the_test_split_and_alternate_between_the_spaces() -> None:
    drawn = bench.held_out(20, list(SPACES.values()), seed=1)
    assert [len(puzzle.numbers) for puzzle in drawn] == [4, 5] * 10
    assert all(split(puzzle) == "test" for puzzle in drawn)
    assert all(p.target in reachable(p.numbers, p.target, p.target) for p in drawn)
    assert max(max(p.numbers) for p in drawn[::2]) > 13 >= max(max(p.numbers) for p in drawn[1::2])
    assert drawn == bench.held_out(20, list(SPACES.values()), seed=1)


def test_more_puzzles_than_exist_are_refused() -> None:
    three, four = PuzzleSpace(count=3), PuzzleSpace()
    assert len(bench.held_out(579, [three], seed=0)) == 579
    for count, spaces in ((580, [three]), (1160, [four, three])):
        with pytest.raises(
            ValueError, match="has only 579 puzzles of 3 numbers from 1 to 13: ask for"
        ):
            bench.held_out(count, spaces, seed=0)
    with pytest.raises(ValueError, match="--puzzles must be at least 1, not 0"):
        bench.held_out(0, [three], seed=0)


@pytest.mark.anyio
async def test_zero_puzzles_at_once_are_refused() -> None:
    drawn = bench.held_out(1, [PuzzleSpace(count=3)], seed=0)
    with anyio.fail_after(30), pytest.raises(ValueError, match="--at-once must be at least 1"):
        await bench.measure(drawn, MODELS, ["rft"], 0, KeptRuns(None), lambda: None)


def _run(
    method: puzzle_runs.Method, puzzle: Puzzle, tokens: int | None, error: str = ""
) -> PuzzleRun:
    answer = None if error else "1"
    return PuzzleRun(method, "w", puzzle.question, error or None, answer, tokens)


def test_figures_are_those_of_a_space_of_a_method_and_of_a_quarter() -> None:
    drawn = bench.held_out(8, list(SPACES.values()), seed=1)
    runs: list[PuzzleRun] = []
    for number, puzzle in enumerate(drawn):
        # Each of RFT's answers is longer than the one before, so the quarters are known.
        runs += [_run("sprint", puzzle, None, "no plan"), _run("rft", puzzle, 10 + number)]
    by_method = puzzle_runs.by_method(runs)
    assert list(by_method) == ["sprint", "rft"]
    assert (by_method["sprint"].errors, by_method["rft"].errors) == (8, 0)
    by_space = puzzle_runs.by_space(runs, list(SPACES))
    assert [of["rft"].puzzles for of in by_space.values()] == [4, 4]
    # Every other puzzle, beginning with the shortest answer.
    assert [of["rft"].sequential_tokens for of in by_space.values()] == [13, 14]
    quarters = puzzle_runs.by_quarter(runs)
    assert [quarter["sprint"].puzzles for quarter in quarters] == [2] * 4
    assert [quarter["rft"].sequential_tokens for quarter in quarters] == [10.5, 12.5, 14.5, 16.5]
    # A run that outgrew its context counts as one of the longest, with the length of the context.
    over = [
        _run("rft", drawn[0], 4096, "too long") if n == 1 else run for n, run in enumerate(runs)
    ]
    longest = puzzle_runs.by_quarter(over)[-1]["rft"]
    assert (longest.puzzles, longest.errors) == (2, 1)
    assert longest.sequential_tokens == (4096 + 17) / 2
    assert puzzle_runs.by_quarter([run for run in runs if run.method == "sprint"]) == []


class FixedLengthAgent:
    """An agent whose planner needs this many tokens for the answer."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    async def solve(self, question: str, **_: object) -> Result:
        return Result(question, "24", "", (), TokenUsage(16, self.tokens), seconds=1.0)


class LimitsAgent(FixedLengthAgent):
    """An agent that records the concurrency that each of its runs would have."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(tokens=10)
        self.limits = limits
        self.concurrency: list[int | None] = []

    async def __aenter__(self) -> LimitsAgent:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def solve(self, question: str, *, limits: Limits | None = None, **_: object) -> Result:
        effective = self.limits if limits is None else limits.within(self.limits)
        self.concurrency.append(effective.concurrency)
        return await super().solve(question)


@pytest.mark.anyio
async def test_only_the_methods_without_a_concurrency_limit_run_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agents: list[LimitsAgent] = []

    def agent(engine: object, *, limits: Limits = solver.LIMITS, **_: object) -> LimitsAgent:
        agents.append(LimitsAgent(limits))
        return agents[-1]

    monkeypatch.setattr(solver, "agent", agent)
    drawn = bench.held_out(1, [PuzzleSpace(count=3)], seed=0)
    methods: list[puzzle_runs.Method] = ["sprint", "sprint_unbounded", "sprint_wait", "rft"]
    await bench.measure(drawn, MODELS, methods, 1, KeptRuns(None), lambda: None)
    limit = solver.LIMITS.concurrency
    # The first run of each agent is a warm-up.
    assert [agent.concurrency[1:] for agent in agents] == [[limit, None, None], [limit]]


@pytest.mark.anyio
async def test_a_chain_that_was_generated_again_counts_as_an_overrun() -> None:
    puzzle = Puzzle((3, 5, 7, 11), 24)

    async def run(method: puzzle_runs.Method, tokens: int) -> PuzzleRun:
        return await bench._Model(cast("Sprint", FixedLengthAgent(tokens)), bench.RFT_MODEL).run(
            method, puzzle
        )

    complete = await run("rft", 4096)
    assert (complete.error, complete.answer, complete.sequential_tokens) == (None, "24", 4096)
    again = await run("rft", 4097)
    assert again.error is not None
    assert "outgrew" in again.error
    assert (again.answer, again.sequential_tokens) == (None, 4096)
    # The tokens of SPRINT are spread over several contexts.
    assert (await run("sprint", 4097)).error is None


class TestKeptRuns:
    PUZZLE = Puzzle((3, 5, 7, 11), 24)

    def test_a_run_is_found_by_its_method_weights_and_question(self, tmp_path: Path) -> None:
        run = _run("rft", self.PUZZLE, 7)
        KeptRuns(tmp_path / "runs").add(run)
        kept = KeptRuns(tmp_path / "runs")
        assert kept.find("rft", "w", self.PUZZLE.question) == run
        assert kept.find("sprint", "w", self.PUZZLE.question) is None
        assert kept.find("rft", "other", self.PUZZLE.question) is None

    def test_half_a_line_is_cut_off(self, tmp_path: Path) -> None:
        path = tmp_path / "runs"
        one, other = _run("rft", self.PUZZLE, 7), _run("sprint", self.PUZZLE, 5)
        for run in (one, other):
            KeptRuns(path).add(run)
        whole = path.read_bytes()
        for cut in range(len(whole)):
            path.write_bytes(whole[:cut])
            KeptRuns(path).add(other)
            kept = KeptRuns(path)
            assert kept.find("sprint", "w", self.PUZZLE.question) == other
            found = kept.find("rft", "w", self.PUZZLE.question)
            assert found == (one if cut > whole.index(b"\n") else None)

    def test_a_line_of_an_older_version_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "runs"
        path.write_text(
            '{"method": "rft", "model": "w", "question": "q", "error": null, "answer": "1", '
            '"sequential_tokens": 7, "total_tokens": 9, "parallelization_ratio": 0.5, '
            '"stages": 1, "seconds": 2.0}\n'
        )
        run = KeptRuns(path).find("rft", "w", "q")
        assert run == PuzzleRun("rft", "w", "q", None, "1", 7, 9, 0.5, 1, 2.0)

    @pytest.mark.parametrize(
        "line", ["nothing", "[]", "3", '"total_tokens"', '{"other": 1}', '{"metho"']
    )
    def test_another_file_is_refused(self, tmp_path: Path, line: str) -> None:
        path = tmp_path / "runs"
        for end in ("\n", ""):
            path.write_text(f"{line}{end}")
            with pytest.raises(SprintError, match=r"line 1 of .* name another file"):
                KeptRuns(path)
            assert path.read_text() == f"{line}{end}"

    @pytest.mark.anyio
    async def test_an_unwritable_file_is_a_one_line_error(self, tmp_path: Path) -> None:
        one_line_error = pytest.raises(SprintError, match=r"cannot keep runs in .*: No such file")
        with one_line_error:
            KeptRuns(tmp_path / "nowhere" / "runs")
        folder = tmp_path / "folder"
        folder.mkdir()
        runs = KeptRuns(folder / "runs")
        shutil.rmtree(folder)
        drawn = bench.held_out(2, [PuzzleSpace(count=3)], seed=1)
        with one_line_error:
            await bench.measure(drawn, MODELS, ["sprint"], 2, runs, lambda: None)


@pytest.mark.anyio
async def test_a_kept_run_is_not_repeated(tmp_path: Path) -> None:
    drawn = bench.held_out(2, [PuzzleSpace(count=3)], seed=1)
    path = tmp_path / "runs"

    async def measure(count: int) -> list[PuzzleRun]:
        methods: list[puzzle_runs.Method] = ["sprint", "rft"]
        return await bench.measure(drawn[:count], MODELS, methods, 1, KeptRuns(path), lambda: None)

    first = await measure(1)
    assert [run.method for run in first] == ["sprint", "rft"]
    assert len({run.model for run in first}) == 2
    assert all(run.right and run.sequential_tokens for run in first)
    both = await measure(2)
    assert both[:2] == first
    assert len(path.read_text().splitlines()) == len(both) == 4
