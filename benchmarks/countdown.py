"""Countdown: SPRINT against RFT on the same held-out puzzles, through the same engine.

The methods alternate on each puzzle, one run at a time. So if the machine becomes slower or faster
meanwhile, all methods are affected alike. With `--at-once`, tokens and accuracy are the same up to the
last bits of the scores, and the seconds are those of a busy engine.

* `sprint`: the stage ends at the first execution whose answer the verifier accepts. The limits are
  those of `sprint solve`.
* `sprint_unbounded`, only on request: the same without a limit on concurrent executions, so its
  sequential tokens are those of the paper. It differs when nested runs want more slots than exist.
* `sprint_wait`: the paper's stage, which starts all of its executions at once and waits for them.
* `rft`: the baseline, a model trained on the same trajectories without splitting.

The answer is always the planner's own (with `sprint` the planner has read which answer the verifier
accepted). The accuracy is the share of answers that the verifier accepts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import anyio

from benchmarks.puzzle_runs import KeptRuns, Method, PuzzleRun
from sprint_agent import PlanError, Sprint
from sprint_agent.countdown import Puzzle, PuzzleSpace, generate, solved, solver
from sprint_agent.engine import Sampling
from sprint_agent.errors import ContextTooLong, SprintError
from sprint_agent.join import Join

RFT_MODEL = Path(__file__).parent / "models" / "rft"
_UNBOUNDED = replace(solver.LIMITS, concurrency=None)
"""The limits of the agents. The limits of one run can only be tighter than its agent's."""


def held_out(count: int, spaces: Sequence[PuzzleSpace], seed: int) -> list[Puzzle]:
    """Returns `count` puzzles of the test split, alternating between the spaces.

    No training set of any size contains a puzzle of the test split.

    Raises:
        ValueError: `count` is less than 1, or the test split has too few puzzles of a space.
    """
    if count < 1:
        raise ValueError(f"--puzzles must be at least 1, not {count}")
    streams = [generate(space, "test", seed) for space in spaces]
    drawn: list[Puzzle] = []
    for number in range(count):
        available, index = divmod(number, len(spaces))
        puzzle = next(streams[index], None)
        if puzzle is None:
            space = spaces[index]
            raise ValueError(
                f"the test split has only {available} puzzles of {space.count} numbers from "
                f"{space.low} to {space.high}: ask for fewer --puzzles"
            )
        drawn.append(puzzle)
    return drawn


async def measure(
    puzzles: Sequence[Puzzle],
    models: dict[str, Path],
    methods: Sequence[Method],
    at_once: int,
    kept: KeptRuns,
    on_puzzle_done: Callable[[], None],
) -> list[PuzzleRun]:
    """Runs every method on every puzzle and returns the runs, puzzle by puzzle.

    Args:
        puzzles: The puzzles.
        models: The model folders, by "sprint" and "rft".
        methods: The methods, in the order in which they run on a puzzle.
        at_once: How many puzzles run at the same time.
        kept: Runs that it contains are returned and not repeated. New runs are added to it.
        on_puzzle_done: Called for each puzzle after all methods have run on it.

    Raises:
        ValueError: `at_once` is less than 1.
        SprintError: A run failed for another reason than its plan or its context, or could not be kept.
    """
    if at_once < 1:
        raise ValueError(f"--at-once must be at least 1, not {at_once}")
    async with AsyncExitStack() as stack:
        # A chain of thought may use as many tokens as the context has.
        greedy = Sampling(temperature=0.0)
        sprint_agent = await stack.enter_async_context(
            solver.agent(models["sprint"], limits=_UNBOUNDED)
        )
        rft_agent = await stack.enter_async_context(
            solver.agent(models["rft"], limits=_UNBOUNDED, sampling=greedy)
        )
        sprint, rft = _Model(sprint_agent, models["sprint"]), _Model(rft_agent, models["rft"])
        # The first run of an engine takes longer than all others, so it is not measured.
        for model in (sprint, rft):
            await model.run("rft", puzzles[0])
        runs_by_puzzle: list[list[PuzzleRun]] = [[] for _ in puzzles]
        limiter = anyio.CapacityLimiter(at_once)

        async def run_methods(puzzle: Puzzle, runs: list[PuzzleRun]) -> None:
            async with limiter:
                for method in methods:
                    model = rft if method == "rft" else sprint
                    run = kept.find(method, model.weights, puzzle.question)
                    if run is None:
                        run = await model.run(method, puzzle)
                        kept.add(run)
                    runs.append(run)
            on_puzzle_done()

        try:
            async with anyio.create_task_group() as group:
                for puzzle, runs in zip(puzzles, runs_by_puzzle, strict=True):
                    group.start_soon(run_methods, puzzle, runs)
        except ExceptionGroup as raised:
            sprint_errors = raised.subgroup(SprintError)
            if sprint_errors is None:
                raise
            raise sprint_errors.exceptions[0] from raised
        return [run for runs in runs_by_puzzle for run in runs]


class _Model:
    """A model that solves puzzles, and a digest that identifies its weights."""

    def __init__(self, agent: Sprint, folder: Path) -> None:
        self._agent = agent
        config = json.loads((folder / "config.json").read_text())
        self._context: int = config["max_position_embeddings"]
        digest = hashlib.sha256()
        for file in sorted(folder.glob("*.safetensors")):
            digest.update(file.read_bytes())
        self.weights = digest.hexdigest()[:12]

    async def run(self, method: Method, puzzle: Puzzle) -> PuzzleRun:
        """Runs a method on a puzzle. An invalid plan or a full context is recorded as an error.

        If a chain of RFT fills its context, the runtime generates it a second time, with a higher
        temperature and without a seed. The result of that is not a run of the method, so it is recorded
        as an overrun of the context too.
        """
        join: Join = solved(puzzle) if method in ("sprint", "sprint_unbounded") else "all"
        limits = _UNBOUNDED if method in ("sprint_unbounded", "sprint_wait") else solver.LIMITS
        try:
            result = await self._agent.solve(puzzle.question, join=join, limits=limits)
        except (PlanError, ContextTooLong) as error:
            return self._failed(method, puzzle, str(error))
        usage = result.usage
        if method == "rft" and usage.sequential_tokens > self._context:
            return self._failed(method, puzzle, "its chain of thought outgrew the context")
        return PuzzleRun(
            method=method,
            model=self.weights,
            question=puzzle.question,
            error=None,
            answer=result.answer,
            sequential_tokens=usage.sequential_tokens,
            completion_tokens=usage.completion_tokens,
            parallelization_ratio=result.parallelization_ratio,
            stages=len(result.stages),
            seconds=result.seconds,
        )

    def _failed(self, method: Method, puzzle: Puzzle, error: str) -> PuzzleRun:
        tokens = self._context if method == "rft" else None
        return PuzzleRun(method, self.weights, puzzle.question, error, None, tokens)
