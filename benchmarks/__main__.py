"""`python -m benchmarks`: what running side by side is worth, measured."""

from __future__ import annotations

import json as jsonlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import anyio
import cyclopts
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import countdown as bench
from benchmarks.countdown import Figures, Measured
from sprint_agent.countdown import solver
from sprint_agent.errors import SprintError

app = cyclopts.App(name="python -m benchmarks", help=__doc__)


@app.command
def countdown(
    *,
    puzzles: int = 100,
    numbers: int = 4,
    seed: int = 0,
    json: Annotated[bool, cyclopts.Parameter(negative=())] = False,
    sprint: Path = solver.MODEL,
    rft: Path = bench.RFT_MODEL,
) -> None:
    """SPRINT against RFT on the same held-out Countdown puzzles, through the same engine.

    Parameters
    ----------
    puzzles
        How many puzzles of the test split.
    numbers
        How many numbers each has, from 1 to 13.
    seed
        Which puzzles are drawn.
    json
        Print the figures as one JSON object.
    sprint
        The folder of the SPRINT model.
    rft
        The folder of the RFT model.
    """
    drawn = bench.held_out(puzzles, numbers, seed)
    runs = anyio.run(_measure, drawn, {"sprint": sprint, "rft": rft})
    methods = {m: bench.figures([r for r in runs if r.method == m]) for m in bench.METHODS}
    quarters = bench.by_quarter(runs)
    if json:
        value = {
            "puzzles": len(drawn),
            "numbers": numbers,
            "seed": seed,
            "methods": {m: asdict(f) for m, f in methods.items()},
            "quarters": [{m: asdict(f) for m, f in q.items()} for q in quarters],
        }
        print(jsonlib.dumps(value))
        return
    console = Console()
    console.print(_table(f"{len(drawn)} puzzles with {numbers} numbers", methods))
    for number, quarter in enumerate(quarters, 1):
        console.print(_table(f"Quarter {number} by RFT's length", quarter))


async def _measure(drawn: list[bench.Puzzle], models: dict[str, Path]) -> list[Measured]:
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("puzzles", total=len(drawn))
        return [r async for r in bench.measure(drawn, models, lambda: progress.advance(task))]


def _table(title: str, methods: dict[str, Figures]) -> Table:
    table = Table(title=title)
    for head in (
        "method",
        "accuracy",
        "sequential tokens",
        "total tokens",
        "ideal speed-up",
        "parallelization",
        "stages",
        "seconds, median",
        "p95",
        "errors",
    ):
        table.add_column(head, justify="left" if head == "method" else "right")
    for method, f in methods.items():
        table.add_row(
            method,
            f"{f.accuracy:.1%}",
            f"{f.sequential_tokens:,.0f}",
            f"{f.total_tokens:,.0f}",
            f"{f.ideal_speedup:.2f}",
            f"{f.parallelization_ratio:.2f}",
            f"{f.stages:.2f}",
            f"{f.seconds_median:.2f}",
            f"{f.seconds_p95:.2f}",
            str(f.errors),
        )
    return table


def main() -> None:
    """Runs the command; what cannot be run is one line on stderr, and status 2."""
    try:
        app(exit_on_error=False, print_error=False)
    except (SprintError, ValueError, cyclopts.CycloptsError) as error:
        print(f"benchmarks: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
