"""Countdown: SPRINT against RFT on the same held-out puzzles, through the same engine.

The methods take each puzzle in turn, one run at a time, so that a machine that grows slower or
faster in between does so for all of them (with `--at-once`, tokens and accuracy are the same up to the
last bits of scores, and times are those of a busy engine):

* `sprint`: the stage ends at the first execution whose answer the verifier accepts, with the limits
  that `sprint solve` has;
* `sprint_unbounded`, where it is asked for: the same with no bound on executions at a time, whose
  sequential tokens are those of the paper. It differs where nested runs want more places than there are;
* `sprint_wait`: the paper's stage, which runs all of its executions at once and waits for them;
* `rft`: the model that learned the same trajectories left sequential.

The answer is always the planner's own (under `sprint` it has read what the verifier accepted), and the
verifier's word on it is the accuracy.
"""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Literal

import anyio

from sprint_agent import EngineError, Limits, PlanError, Result, Sprint
from sprint_agent.countdown import Puzzle, PuzzleSpace, generate, solved, solver, verify
from sprint_agent.engines.base import Sampling
from sprint_agent.join import Join

RFT_MODEL = Path(__file__).parent / "models" / "rft"
Method = Literal["sprint", "sprint_unbounded", "sprint_wait", "rft"]
METHODS: tuple[Method, ...] = ("sprint", "sprint_wait", "rft")
"""Those that take the puzzles unless some are named."""
QUARTERS = 4
CONTEXT = 4096
"""The ids that the models' contexts hold: what a chain of thought that outgrew it took, at least."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of one method on one puzzle; a run that ended in an error has no result."""

    method: Method
    puzzle: Puzzle
    result: Result | None

    @property
    def right(self) -> bool:
        """Whether the verifier takes the answer."""
        answer = self.result.answer if self.result else None
        return answer is not None and verify(answer, self.puzzle)

    @property
    def sequential_tokens(self) -> int | None:
        """Tokens one after another; None where the run ended in an error, but for an overrun of RFT."""
        if self.result is None:
            return CONTEXT if self.method == "rft" else None
        return self.result.usage.sequential_tokens


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one method over some puzzles.

    Runs that ended in an error count in the accuracy alone, and where they are RFT's, which outgrew its
    context, in the sequential tokens too.
    """

    puzzles: int
    errors: int
    accuracy: float
    sequential_tokens: float
    total_tokens: float
    ideal_speedup: float
    parallelization_ratio: float
    stages: float
    seconds_median: float
    seconds_p95: float


def held_out(count: int, spaces: Sequence[PuzzleSpace], seed: int) -> list[Puzzle]:
    """Puzzles of the test split, which no training set of any size holds, from all spaces in turn."""
    drawn = cycle([generate(space, "test", seed) for space in spaces])
    return [next(puzzles) for puzzles in islice(drawn, count)]


async def measure(
    puzzles: Sequence[Puzzle],
    models: dict[str, Path],
    methods: Sequence[Method],
    at_once: int,
    done: Callable[[Sequence[Measured]], None],
) -> list[Measured]:
    """Runs these methods on every puzzle; `models` are the folders of "sprint" and "rft".

    So many puzzles are under way `at_once`; `done` is told of each that all methods have taken.
    """
    async with AsyncExitStack() as stack:
        sprint = await stack.enter_async_context(solver.agent(models["sprint"]))
        # One chain of thought takes as many tokens as the context holds.
        chain = Sampling(temperature=0.0)
        rft = await stack.enter_async_context(solver.agent(models["rft"], sampling=chain))
        for agent in (sprint, rft):
            await _solve(agent, puzzles[0], "all", None)
        unbounded = replace(solver.LIMITS, concurrency=None)
        ways: dict[Method, Callable[[Puzzle], Awaitable[Result | None]]] = {
            "sprint": lambda puzzle: _solve(sprint, puzzle, solved(puzzle), None),
            "sprint_unbounded": lambda puzzle: _solve(sprint, puzzle, solved(puzzle), unbounded),
            "sprint_wait": lambda puzzle: _solve(sprint, puzzle, "all", unbounded),
            "rft": lambda puzzle: _solve(rft, puzzle, "all", None),
        }
        found: list[list[Measured]] = [[] for _ in puzzles]
        places = anyio.CapacityLimiter(at_once)

        async def take(puzzle: Puzzle, runs: list[Measured]) -> None:
            async with places:
                for method in methods:
                    runs.append(Measured(method, puzzle, await ways[method](puzzle)))
            done(runs)

        async with anyio.create_task_group() as group:
            for puzzle, runs in zip(puzzles, found, strict=True):
                group.start_soon(take, puzzle, runs)
        return [run for runs in found for run in runs]


async def _solve(agent: Sprint, puzzle: Puzzle, join: Join, limits: Limits | None) -> Result | None:
    try:
        return await agent.solve(puzzle.question, join=join, limits=limits)
    except (PlanError, EngineError):
        return None


def figures(runs: Sequence[Measured]) -> Figures:
    """The figures of some runs of one method."""
    results = [run.result for run in runs if run.result is not None]
    usages = [result.usage for result in results]
    seconds = sorted(result.seconds for result in results)
    taken = [tokens for run in runs if (tokens := run.sequential_tokens) is not None]
    sequential = sum(usage.sequential_tokens for usage in usages)
    total = sum(usage.total_tokens for usage in usages)
    count = max(1, len(results))
    return Figures(
        puzzles=len(runs),
        errors=len(runs) - len(results),
        accuracy=sum(run.right for run in runs) / max(1, len(runs)),
        sequential_tokens=sum(taken) / max(1, len(taken)),
        total_tokens=total / count,
        ideal_speedup=total / max(1, sequential),
        parallelization_ratio=sum(r.parallelization_ratio for r in results) / count,
        stages=sum(len(r.stages) for r in results) / count,
        seconds_median=statistics.median(seconds) if seconds else 0.0,
        seconds_p95=seconds[int(0.95 * (len(seconds) - 1))] if seconds else 0.0,
    )


def by_space(runs: Sequence[Measured], spaces: Sequence[str]) -> dict[str, dict[Method, Figures]]:
    """The figures by the space of the puzzle, of runs on puzzles that were drawn from all in turn."""
    held: dict[str, list[Measured]] = {space: [] for space in spaces}
    methods = len({run.method for run in runs})
    for number, run in enumerate(runs):
        held[spaces[number // methods % len(spaces)]].append(run)
    return {space: by_method(found) for space, found in held.items()}


def by_method(runs: Sequence[Measured]) -> dict[Method, Figures]:
    """The figures of each method, in the order in which they ran."""
    methods = dict.fromkeys(run.method for run in runs)
    return {method: figures([r for r in runs if r.method == method]) for method in methods}


def by_quarter(runs: Sequence[Measured]) -> list[dict[Method, Figures]]:
    """The figures of each method by quarter of RFT's length, from the shortest to the longest.

    A puzzle on which RFT ended in an error counts among the longest. Without RFT there are none.
    """
    length: dict[tuple[tuple[int, ...], int], tuple[bool, int]] = {}
    for run in runs:
        if run.method == "rft":
            length[run.puzzle.key] = (run.result is None, run.sequential_tokens or 0)
    order = sorted(length, key=lambda key: length[key])
    quarter = {key: place * QUARTERS // len(order) for place, key in enumerate(order)}
    return [
        by_method([r for r in runs if quarter[r.puzzle.key] == number])
        for number in range(QUARTERS if order else 0)
    ]
