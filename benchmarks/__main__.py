"""`python -m benchmarks`: what running side by side is worth, measured."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import anyio
import cyclopts
from cyclopts.types import ExistingDirectory, ExistingFile
from rich.console import Console
from rich.progress import Progress

from benchmarks import countdown as bench
from benchmarks import puzzle_runs, tables
from benchmarks.puzzle_runs import Measured, Method, Runs
from sprint_agent.countdown import PuzzleSpace, solver
from sprint_agent.errors import SprintError

app = cyclopts.App(name="python -m benchmarks", help=__doc__)

_Flag = Annotated[bool, cyclopts.Parameter(negative=())]


@app.command
def countdown(
    *,
    puzzles: int = 100,
    numbers: list[str] | None = None,
    seed: int = 0,
    methods: list[Method] | None = None,
    at_once: int = 1,
    keep: Path | None = None,
    json: _Flag = False,
    sprint: Path = solver.MODEL,
    rft: Path = bench.RFT_MODEL,
) -> None:
    """SPRINT against RFT on the same held-out Countdown puzzles, through the same engine.

    Parameters
    ----------
    puzzles
        How many puzzles of the test split.
    numbers
        How many numbers a puzzle has (of 1 to 13), or how many and up to which: 4:99. Given more than
        once, the puzzles are drawn in turn.
    seed
        Which puzzles are drawn.
    methods
        Which methods take them: sprint, sprint_wait and rft, unless some are named. Besides, there is
        sprint_unbounded, with no bound on the executions at a time.
    at_once
        How many puzzles are under way at a time: many take less time, and tell none of a single one.
    keep
        A file that keeps each run, a line of JSON, as soon as it ends. Runs that it holds, of the same
        weights, are not made again: a benchmark that was stopped goes on.
    json
        Print the figures as one JSON object.
    sprint
        The folder of the SPRINT model.
    rft
        The folder of the RFT model.
    """
    spaces = {name: PuzzleSpace.parse(name) for name in numbers or ["4"]}
    drawn = bench.held_out(puzzles, list(spaces.values()), seed)
    models = {"sprint": sprint, "rft": rft}
    runs = anyio.run(_measure, drawn, models, methods or puzzle_runs.METHODS, at_once, Runs(keep))
    over_all = puzzle_runs.by_method(runs)
    by_space = puzzle_runs.by_space(runs, list(spaces))
    quarters = puzzle_runs.by_quarter(runs)
    if json:
        value = {
            "puzzles": len(drawn),
            "numbers": list(spaces),
            "seed": seed,
            "methods": {m: asdict(f) for m, f in over_all.items()},
            "spaces": {s: {m: asdict(f) for m, f in of.items()} for s, of in by_space.items()},
            "quarters": [{m: asdict(f) for m, f in q.items()} for q in quarters],
        }
        print(jsonlib.dumps(value))
        return
    console = _console()
    console.print(tables.countdown(f"{len(drawn)} puzzles, numbers {', '.join(spaces)}", over_all))
    for name, of in by_space.items() if len(spaces) > 1 else ():
        console.print(tables.countdown(f"Numbers {name}", of))
    for number, quarter in enumerate(quarters, 1):
        console.print(tables.countdown(f"Quarter {number} by RFT's length", quarter))


def _console() -> Console:
    """A console for tables: in a file, they are as wide as they need to be."""
    return Console() if Console().is_terminal else Console(width=140)


async def _measure(
    drawn: list[bench.Puzzle],
    models: dict[str, Path],
    methods: Sequence[Method],
    at_once: int,
    made: Runs,
) -> list[Measured]:
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("puzzles", total=len(drawn))
        return await bench.measure(
            drawn, models, methods, at_once, made, lambda: progress.advance(task)
        )


@app.command
def overhead(*, json: _Flag = False) -> None:
    """What our loop adds to its engine, beside plain asyncio and LangGraph. It takes ten minutes.

    Parameters
    ----------
    json
        Print the figures as one JSON object.
    """
    # LangGraph takes a second to import, and no other command needs it.
    from benchmarks import overhead as timing

    sizes = timing.SIZES
    figures: list[timing.Figure] = []

    async def measure() -> None:
        # A display that refreshes by itself would be measured with the rest.
        with Progress(console=Console(stderr=True), auto_refresh=False) as progress:
            task = progress.add_task("figures", total=timing.count(sizes))
            async for figure in timing.measure(sizes):
                figures.append(figure)
                progress.update(task, advance=1, refresh=True)

    timing.run_precisely(measure())
    if json:
        print(jsonlib.dumps(timing.to_json(figures, sizes)))
        return
    console = _console()
    for table in tables.overhead(timing.to_json(figures, sizes)):
        console.print(table)


@app.command
def prefix(
    *,
    url: str | None = None,
    python: ExistingFile | None = None,
    puzzles: int = 30,
    numbers: str = "4",
    seed: int = 0,
    json: _Flag = False,
    model: ExistingDirectory = solver.MODEL,
) -> None:
    """Prompt tokens that an SGLang server's prefix cache did not hold, by when executors start.

    Parameters
    ----------
    url
        The address of a server that serves `model`, and that nobody else uses.
    python
        The interpreter of an environment with SGLang, which is then started on this CPU.
    puzzles
        How many Countdown puzzles of the test split.
    numbers
        How many numbers a puzzle has (of 1 to 13), or how many and up to which: 4:99.
    seed
        Which puzzles are drawn.
    json
        Print the figures as one JSON object.
    model
        The folder of the model.
    """
    from benchmarks import prefix as caching
    from benchmarks.sglang_server import sglang_server
    from sprint_agent.engines.sglang.engine import SGLangEngine

    if (url is None) == (python is None):
        raise ValueError("give either the --url of a server or the --python to start one with")
    drawn = bench.held_out(puzzles, [PuzzleSpace.parse(numbers)], seed)
    runs: list[caching.Run] = []

    async def measure(url: str) -> None:
        engine = SGLangEngine(url, tokenizer=model)
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("runs", total=len(drawn) * len(caching.MODES))
            async for run in caching.measure(drawn, engine, lambda: caching.flush(url)):
                runs.append(run)
                progress.advance(task)

    with sglang_server(python, model) if python else nullcontext(url) as address:
        anyio.run(measure, address)
    modes = {mode: caching.figures([r for r in runs if r.mode == mode]) for mode in caching.MODES}
    if json:
        print(jsonlib.dumps(caching.to_json(modes)))
    else:
        _console().print(tables.prefix(f"{len(drawn)} puzzles with {numbers} numbers", modes))


@app.command
def curation(
    *,
    trajectories: int = 10_000,
    concurrency: int = 64,
    latency: float = 0.3,
    seed: int = 0,
    json: _Flag = False,
) -> None:
    """How far one process goes in curation: its rate, its memory, and a kill in between.

    Parameters
    ----------
    trajectories
        How many trajectories, of two queries each.
    concurrency
        Requests under way at a time.
    latency
        Seconds from a request to its answer.
    seed
        Which trajectories, and when the run is killed.
    json
        Print the figures as one JSON object.
    """
    from benchmarks import curation as bench

    setting = bench.Setting(trajectories, concurrency, latency, seed)
    with TemporaryDirectory() as folder:
        whole, killed = bench.measure(setting, Path(folder))
    if json:
        share = setting.ideal_seconds / whole.seconds
        value = {"setting": asdict(setting), "share_of_ideal": share}
        print(jsonlib.dumps(value | {"whole": asdict(whole), "killed": asdict(killed)}))
    else:
        _console().print(tables.curation(setting, whole, killed))


@app.command
def train(*, rounds: int = 3, json: _Flag = False) -> None:
    """Ids a second in training: against TRL's trainer, and trees against a row for each context.

    Parameters
    ----------
    rounds
        How often the methods are measured, in turn.
    json
        Print the figures as one JSON object.
    """
    if not _accelerated():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    # It imports DeepSpeed, which takes seconds and which no other command needs.
    from benchmarks import training

    sizes = replace(training.GPU if _accelerated() else training.CPU, rounds=rounds)
    try:
        speeds = list(training.measure(sizes))
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    if json:
        print(jsonlib.dumps(training.to_json(sizes, speeds)))
    else:
        _console().print(tables.training(training.to_json(sizes, speeds)))


def _accelerated() -> bool:
    """Whether there is a GPU for torch."""
    import torch

    return torch.cuda.is_available()


def main() -> None:
    """Runs the command; what cannot be run is one line on stderr, and status 2."""
    try:
        app(exit_on_error=False, print_error=False)
    except (SprintError, ValueError, cyclopts.CycloptsError) as error:
        print(f"benchmarks: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
