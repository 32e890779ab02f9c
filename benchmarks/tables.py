"""The benchmarks' figures as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    # Each brings in what its benchmark alone needs.
    from benchmarks import curation as curating
    from benchmarks import prefix as caching
    from benchmarks import puzzle_runs


def _table(title: str, heads: Sequence[str]) -> Table:
    """A table without rows, numbers to the right."""
    table = Table(title=title, min_width=len(title))
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left")
    return table


def countdown(title: str, methods: Mapping[str, puzzle_runs.Figures]) -> Table:
    """SPRINT against RFT, a row a method."""
    heads = (
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
    )
    table = _table(title, heads)
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


def prefix(title: str, modes: Mapping[str, caching.Figures]) -> Table:
    """Prompt tokens that were not cached, a row a mode."""
    heads = (
        "dispatch",
        "uncached a problem",
        "an executor's call",
        "a planner's call",
        "prompt tokens",
        "executors' calls",
        "planner's calls",
        "right",
        "seconds, median",
        "errors",
    )
    table = _table(title, heads)
    for mode, f in modes.items():
        table.add_row(
            mode,
            f"{f.uncached:,.1f}",
            f"{f.uncached_executor_call:,.1f}",
            f"{f.uncached_planner_call:,.1f}",
            f"{f.prompt_tokens:,.0f}",
            f"{f.executor_calls:.1f}",
            f"{f.planner_calls:.1f}",
            f"{f.accuracy:.0%}",
            f"{f.seconds_median:.2f}",
            str(f.errors),
        )
    return table


def curation(setting: curating.Setting, whole: curating.Whole, killed: curating.Killed) -> Table:
    """How far one process goes in curation."""
    title = f"{setting.trajectories:,} trajectories, {setting.concurrency} requests at a time"
    table = _table(title, ("", "measured"))
    table.add_row("ideal seconds", f"{setting.ideal_seconds:.1f}")
    table.add_row("seconds", f"{whole.seconds:.1f}")
    table.add_row("share of the ideal rate", f"{setting.ideal_seconds / whole.seconds:.1%}")
    for place in (1, 2, 3, 4) if whole.memory else ():
        at = len(whole.memory) * place // 4 - 1
        table.add_row(f"memory after {place}/4, MB", f"{whole.memory[at] / 1e6:.0f}")
    table.add_row("killed when answers kept were", f"{killed.kept:,}")
    table.add_row("requests under way by then, sent again", str(killed.under_way))
    table.add_row("others sent again", str(killed.repeated))
    table.add_row("the same files", "yes" if killed.same_files else "no")
    return table


def overhead(figures: Mapping[str, Any]) -> list[Table]:
    """What loops add to their engine: the JSON object of the figures as tables."""
    crowd = figures["at_once"]
    beside = f"with {crowd['executors']} executors, by runs at once"
    (streams, shares), *_ = figures["core_share"].items()
    share = _table(f"Share of a core for {streams} streams", ("method", "share"))
    for method, value in shares.items():
        share.add_row(method, f"{value:.1%}")
    return [
        _grid("ms added to a stage, by executors", figures["added_ms_per_stage"], 2),
        _grid("CPU ms of a stage, engine included, by executors", figures["cpu_ms_per_stage"], 2),
        _grid(f"ms added to a stage {beside}", crowd["added_ms_per_stage"], 2),
        _grid(f"CPU ms of a stage {beside}", crowd["cpu_ms_per_stage"], 2),
        share,
        _grid(
            f"Peak of traced bytes a run, with {crowd['executors']} executors, by runs at once",
            figures["bytes_per_run_of"],
            0,
        ),
    ]


def _grid(title: str, values: Mapping[str, Mapping[str, float]], digits: int) -> Table:
    columns = list(next(iter(values.values())))
    table = _table(title, ("method", *columns))
    for method, row in values.items():
        table.add_row(method, *(f"{row[column]:,.{digits}f}" for column in columns))
    return table


def training(found: Mapping[str, Any]) -> Table:
    """Ids a second in training, a row a method, and what that is of TRL's and of `expanded`'s."""
    heads = ("method", "ids a second", "to trl", "to expanded", "of the device's operations")
    table = _table("Training, ids of the data a second", heads)
    speeds = found["tokens_per_second"]
    for method, speed in speeds.items():
        used = found["utilisation"].get(method)
        table.add_row(
            method,
            f"{speed:,.0f}",
            f"{speed / speeds['trl']:.2f}" if method in ("linear", "trl") else "",
            f"{speed / speeds['expanded']:.2f}" if method in ("branched", "expanded") else "",
            f"{used:.0%}" if used is not None else "",
        )
    return table
