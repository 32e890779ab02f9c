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

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import anyio

from benchmarks.puzzle_runs import Measured, Method, Runs
from sprint_agent import PlanError, Sprint
from sprint_agent.countdown import Puzzle, PuzzleSpace, generate, solved, solver
from sprint_agent.engine import Sampling
from sprint_agent.errors import ContextTooLong, SprintError
from sprint_agent.join import Join

RFT_MODEL = Path(__file__).parent / "models" / "rft"
_UNBOUNDED = replace(solver.LIMITS, concurrency=None)


def held_out(count: int, spaces: Sequence[PuzzleSpace], seed: int) -> list[Puzzle]:
    """Puzzles of the test split, which no training set of any size holds, from all spaces in turn.

    Raises ValueError where there are not so many.
    """
    if count < 1:
        raise ValueError(f"--puzzles must be at least 1, not {count}")
    drawn = [generate(space, "test", seed) for space in spaces]
    found: list[Puzzle] = []
    for number in range(count):
        turn, place = divmod(number, len(spaces))
        puzzle = next(drawn[place], None)
        if puzzle is None:
            space = spaces[place]
            raise ValueError(
                f"the test split holds {turn} puzzles of {space.count} numbers from {space.low} to "
                f"{space.high}: ask for fewer --puzzles"
            )
        found.append(puzzle)
    return found


async def measure(
    puzzles: Sequence[Puzzle],
    models: dict[str, Path],
    methods: Sequence[Method],
    at_once: int,
    made: Runs,
    done: Callable[[], None],
) -> list[Measured]:
    """The runs of these methods on every puzzle; `models` are the folders of "sprint" and "rft".

    Those that `made` holds are not made again. So many puzzles are under way `at_once`; `done` is
    called for each that all methods have taken. Raises ValueError where none would ever be.
    """
    if at_once < 1:
        raise ValueError(f"--at-once must be at least 1, not {at_once}")
    async with AsyncExitStack() as stack:
        # One chain of thought takes as many tokens as the context holds.
        chain = Sampling(temperature=0.0)
        planning = await stack.enter_async_context(solver.agent(models["sprint"]))
        thinking = await stack.enter_async_context(solver.agent(models["rft"], sampling=chain))
        sprint, rft = _Model(planning, models["sprint"]), _Model(thinking, models["rft"])
        # The first run of an engine takes longer than any other, and is not measured.
        for model in (sprint, rft):
            await model.run("rft", puzzles[0])
        found: list[list[Measured]] = [[] for _ in puzzles]
        places = anyio.CapacityLimiter(at_once)

        async def take(puzzle: Puzzle, runs: list[Measured]) -> None:
            async with places:
                for method in methods:
                    model = rft if method == "rft" else sprint
                    run = made.find(method, model.weights, puzzle.question)
                    if run is None:
                        run = await model.run(method, puzzle)
                        made.add(run)
                    runs.append(run)
            done()

        try:
            async with anyio.create_task_group() as running:
                for puzzle, runs in zip(puzzles, found, strict=True):
                    running.start_soon(take, puzzle, runs)
        except ExceptionGroup as group:
            told = group.subgroup(SprintError)
            if told is None:
                raise
            raise told.exceptions[0] from group
        return [run for runs in found for run in runs]


class _Model:
    """A model that takes puzzles, and what tells its weights apart from others."""

    def __init__(self, agent: Sprint, folder: Path) -> None:
        self._agent = agent
        config = json.loads((folder / "config.json").read_text())
        self._context: int = config["max_position_embeddings"]
        digest = hashlib.sha256()
        for file in sorted(folder.glob("*.safetensors")):
            digest.update(file.read_bytes())
        self.weights = digest.hexdigest()[:12]

    async def run(self, method: Method, puzzle: Puzzle) -> Measured:
        """Runs a method on a puzzle; of a plan that cannot be run, and a full context, it says so.

        A chain of RFT that fills its context is written a second time by the runtime, warm and without
        a seed. What that came to is no run of the method: it counts as the overrun that it is.
        """
        join: Join = solved(puzzle) if method in ("sprint", "sprint_unbounded") else "all"
        limits = _UNBOUNDED if method in ("sprint_unbounded", "sprint_wait") else None
        try:
            result = await self._agent.solve(puzzle.question, join=join, limits=limits)
        except (PlanError, ContextTooLong) as error:
            return self._failed(method, puzzle, str(error))
        usage = result.usage
        if method == "rft" and usage.sequential_tokens > self._context:
            return self._failed(method, puzzle, "its chain of thought outgrew the context")
        return Measured(
            method=method,
            model=self.weights,
            question=puzzle.question,
            error=None,
            answer=result.answer,
            sequential_tokens=usage.sequential_tokens,
            total_tokens=usage.completion_tokens,
            parallelization_ratio=result.parallelization_ratio,
            stages=len(result.stages),
            seconds=result.seconds,
        )

    def _failed(self, method: Method, puzzle: Puzzle, error: str) -> Measured:
        taken = self._context if method == "rft" else None
        return Measured(method, self.weights, puzzle.question, error, None, taken)
