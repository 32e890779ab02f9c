"""`python -m benchmarks`: measures what parallel reasoning gains and what each part costs."""

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
from benchmarks.puzzle_runs import KeptRuns, Method, PuzzleRun
from sprint_agent.countdown import PuzzleSpace, solver
from sprint_agent.errors import SprintError

app = cyclopts.App(name="python -m benchmarks", help=__doc__)

_Flag = Annotated[bool, cyclopts.Parameter(negative=())]
_Repeatable = cyclopts.Parameter(negative=())
"""For an option that may be given more than once, without the `--empty-…` that cyclopts adds."""


@app.command
def countdown(
    *,
    puzzles: int = 100,
    numbers: Annotated[list[str] | None, _Repeatable] = None,
    seed: int = 0,
    methods: Annotated[list[Method] | None, _Repeatable] = None,
    at_once: int = 1,
    keep: Path | None = None,
    json: _Flag = False,
    sprint: Path = solver.MODEL,
    rft: Path = bench.RFT_MODEL,
) -> None:
    """Compare SPRINT with RFT on the same held-out Countdown puzzles, through the same engine.

    Parameters
    ----------
    puzzles
        Number of puzzles to draw from the test split.
    numbers
        Numbers in a puzzle: 4 (from 1 to 13), or 4:99 (from 1 to 99). If the option is given more
        than once, the kinds alternate.
    seed
        Seed of the draw.
    methods
        Methods to compare, by default sprint, sprint_wait and rft. The fourth, sprint_unbounded, is
        sprint without a limit on concurrent executions.
    at_once
        Puzzles to run at the same time. More puzzles finish sooner, but the seconds are then those of a
        busy engine and not of a single run.
    keep
        File to which each run is appended as a line of JSON when it ends. Runs that the file already
        contains, with the same weights, are not repeated, so an interrupted benchmark can be resumed.
    json
        Print the results as one JSON object.
    sprint
        Folder of the SPRINT model.
    rft
        Folder of the RFT model.
    """
    spaces = {name: PuzzleSpace.parse(name) for name in numbers or ["4"]}
    drawn = bench.held_out(puzzles, list(spaces.values()), seed)
    models = {"sprint": sprint, "rft": rft}
    kept = KeptRuns(keep)
    runs = anyio.run(_measure, drawn, models, methods or puzzle_runs.METHODS, at_once, kept)
    overall = puzzle_runs.by_method(runs)
    by_space = puzzle_runs.by_space(runs, list(spaces))
    quarters = puzzle_runs.by_quarter(runs)
    if json:
        value = {
            "puzzles": len(drawn),
            "numbers": list(spaces),
            "seed": seed,
            "methods": {m: asdict(s) for m, s in overall.items()},
            "spaces": {
                name: {m: asdict(s) for m, s in of.items()} for name, of in by_space.items()
            },
            "quarters": [{m: asdict(s) for m, s in q.items()} for q in quarters],
        }
        print(jsonlib.dumps(value))
        return
    console = _console()
    title = f"{len(drawn)} held-out Countdown puzzles, --numbers {', '.join(spaces)}"
    console.print(tables.countdown(title, overall))
    for name, summaries in by_space.items() if len(spaces) > 1 else ():
        console.print(tables.countdown(f"Only the puzzles with --numbers {name}", summaries))
    for number, quarter in enumerate(quarters, 1):
        title = f"Quarter {number} of {len(quarters)} of the puzzles, ordered by RFT's tokens"
        console.print(tables.countdown(title, quarter))


def _console() -> Console:
    """Returns a console for tables. If the output is a file, tables get the width they need."""
    return Console() if Console().is_terminal else Console(width=140)


async def _measure(
    drawn: list[bench.Puzzle],
    models: dict[str, Path],
    methods: Sequence[Method],
    at_once: int,
    kept: KeptRuns,
) -> list[PuzzleRun]:
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("puzzles", total=len(drawn))
        return await bench.measure(
            drawn, models, methods, at_once, kept, lambda: progress.advance(task)
        )


@app.command
def overhead(
    *,
    executors: Annotated[list[int] | None, _Repeatable] = None,
    runs: Annotated[list[int] | None, _Repeatable] = None,
    repeats: int = 3,
    json: _Flag = False,
) -> None:
    """Measure what our loop adds to its engine, compared with plain asyncio and LangGraph.

    The defaults take 10 to 13 minutes. `--executors 16 --runs 1 --repeats 5` takes two to three.

    Parameters
    ----------
    executors
        Executors of a stage, when one run at a time is measured. Can be given more than once. By
        default 1, 4, 16 and 64.
    runs
        Concurrent runs, each with 16 executors. Can be given more than once. By default 1, 10, 100
        and 1000. Memory is measured with the largest number.
    repeats
        How often each measurement of one run at a time is repeated. The median is reported.
    json
        Print the results as one JSON object.
    """
    # LangGraph takes a second to import, and no other command needs it.
    from benchmarks import overhead as timing

    workload = timing.Workload.bounded(executors, runs, repeats)
    measurements: list[timing.Measurement] = []

    async def measure() -> None:
        # A display that refreshes by itself would be measured with the rest.
        with Progress(console=Console(stderr=True), auto_refresh=False) as progress:
            task = progress.add_task("measurements", total=timing.count(workload))
            async for measurement in timing.measure(workload):
                measurements.append(measurement)
                progress.update(task, advance=1, refresh=True)

    timing.run_precisely(measure())
    value = timing.to_json(measurements, workload)
    if json:
        print(jsonlib.dumps(value))
        return
    console = _console()
    for table in tables.overhead(value):
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
    """Count the prompt tokens that SGLang's prefix cache misses, depending on when executors start.

    Parameters
    ----------
    url
        Address of a server that serves `model` and has no other users.
    python
        Interpreter of an environment with SGLang. The benchmark starts a server with it on this CPU.
    puzzles
        Number of Countdown puzzles to draw from the test split.
    numbers
        Numbers in a puzzle: 4 (from 1 to 13), or 4:99 (from 1 to 99).
    seed
        Seed of the draw.
    json
        Print the results as one JSON object.
    model
        Folder of the model.
    """
    from benchmarks import prefix as caching
    from benchmarks.sglang_server import sglang_server
    from sprint_agent.engines.sglang.engine import SGLangEngine

    if (url is None) == (python is None):
        raise ValueError("give either the --url of a server or the --python to start one with")
    drawn = bench.held_out(puzzles, [PuzzleSpace.parse(numbers)], seed)
    runs: list[caching.ModeRun] = []

    async def measure(url: str) -> None:
        engine = SGLangEngine(url, tokenizer=model)
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("runs", total=len(drawn) * len(caching.MODES))
            async for run in caching.measure(drawn, engine, lambda: caching.flush(url)):
                runs.append(run)
                progress.advance(task)

    with sglang_server(python, model) if python else nullcontext(url) as address:
        assert address is not None
        anyio.run(measure, address)
    modes: dict[caching.Mode, caching.ModeSummary] = {
        mode: caching.summarize([r for r in runs if r.mode == mode]) for mode in caching.MODES
    }
    if json:
        print(jsonlib.dumps(caching.to_json(modes)))
    else:
        title = f"{len(drawn)} held-out Countdown puzzles, --numbers {numbers}, tokens per problem"
        _console().print(tables.prefix(title, modes))


@app.command
def curation(
    *,
    trajectories: int = 10_000,
    concurrency: int = 64,
    latency: float = 0.3,
    seed: int = 0,
    json: _Flag = False,
) -> None:
    """Measure the rate and the memory of one curation process, and what a SIGKILL costs.

    Parameters
    ----------
    trajectories
        Number of generated trajectories. Each needs two queries.
    concurrency
        Concurrent requests to the endpoint.
    latency
        Seconds from a request to its answer.
    seed
        Seed of the trajectories and of the moment of the kill.
    json
        Print the results as one JSON object.
    """
    from benchmarks import curation as bench

    workload = bench.Workload(trajectories, concurrency, latency, seed)
    with TemporaryDirectory() as folder:
        complete, killed = bench.measure(workload, Path(folder))
    if json:
        share = workload.ideal_seconds / complete.seconds
        value = {"workload": asdict(workload), "share_of_ideal": share}
        print(jsonlib.dumps(value | {"complete": asdict(complete), "killed": asdict(killed)}))
    else:
        _console().print(tables.curation(workload, complete, killed))


@app.command
def leaks(*, documents: int = 300, seed: int = 0, json: _Flag = False) -> None:
    """Measure the leak check of curation on text whose dependencies are known.

    Parameters
    ----------
    documents
        Number of generated chains of thought.
    seed
        Seed of the documents.
    json
        Print the results as one JSON object.
    """
    from benchmarks import leaks as bench
    from benchmarks.reasoning_text import documents as written

    report = bench.measure(written(documents, seed))
    if json:
        print(jsonlib.dumps(asdict(report)))
    else:
        _console().print(tables.leaks(report))


@app.command
def graphs(file: ExistingFile, /, *, shortest_execution: int = 1, json: _Flag = False) -> None:
    """Pack dependency graphs of real reasoning, and check that packing keeps its promises.

    Parameters
    ----------
    file
        JSON lines with the `nodes` and `edges` of each graph.
    shortest_execution
        Fewest sentences of an execution.
    json
        Print the results as one JSON object.
    """
    from benchmarks import graphs as bench

    for name, divide in (("sentence", None), ("paragraph", bench.by_paragraph)):
        read = bench.read(file)
        report = bench.measure(
            map(divide, read) if divide else read, shortest_execution=shortest_execution
        )
        if json:
            print(jsonlib.dumps({"component": name, **asdict(report)}))
        else:
            _console().print(tables.graphs(f"A component is a {name}", report))


@app.command
def train(*, rounds: int = 3, json: _Flag = False) -> None:
    """Measure the training's speed: against TRL's trainer, and trees against one row per context.

    Parameters
    ----------
    rounds
        How often each method is measured. The methods alternate.
    json
        Print the results as one JSON object.
    """
    if not _has_gpu():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    # This imports DeepSpeed, which takes seconds and which no other command needs.
    from benchmarks import training

    workload = replace(training.GPU if _has_gpu() else training.CPU, rounds=rounds)
    try:
        speeds = list(training.measure(workload))
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    if json:
        print(jsonlib.dumps(training.to_json(workload, speeds)))
    else:
        _console().print(tables.training(training.to_json(workload, speeds)))


def _has_gpu() -> bool:
    """Returns whether torch can use a GPU."""
    import torch

    return torch.cuda.is_available()


def main() -> None:
    """Runs the command. An error is printed as one line on stderr, with exit status 2."""
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except (SprintError, ValueError, cyclopts.CycloptsError) as error:
        print(f"benchmarks: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
