"""Tables of the benchmarks' results, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    # Each module imports what only its benchmark needs.
    from benchmarks import curation as curating
    from benchmarks import graphs as packing
    from benchmarks import leaks as checking
    from benchmarks import prefix as caching
    from benchmarks import puzzle_runs


def _table(title: str, heads: Sequence[str]) -> Table:
    """Returns a table without rows. All columns but the first are aligned to the right."""
    table = Table(title=title, min_width=len(title))
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left")
    return table


def countdown(title: str, methods: Mapping[puzzle_runs.Method, puzzle_runs.MethodSummary]) -> Table:
    """Returns the comparison of SPRINT with RFT, one row per method."""
    heads = (
        "method",
        "accuracy",
        "sequential tokens",
        "generated tokens",
        "generated / sequential",
        "parallelization ratio",
        "stages",
        "seconds, median",
        "seconds, p95",
        "errors",
    )
    table = _table(title, heads)
    for method, f in methods.items():
        table.add_row(
            method,
            f"{f.accuracy:.1%}",
            f"{f.sequential_tokens:,.0f}",
            f"{f.completion_tokens:,.0f}",
            f"{f.ideal_speedup:.2f}",
            f"{f.parallelization_ratio:.2f}",
            f"{f.stages:.2f}",
            f"{f.seconds_median:.2f}",
            f"{f.seconds_p95:.2f}",
            str(f.errors),
        )
    return table


def prefix(title: str, modes: Mapping[caching.Mode, caching.ModeSummary]) -> Table:
    """Returns the prompt tokens that were not cached, one row per mode."""
    heads = (
        "dispatch",
        "uncached prompt tokens",
        "of an executor's call",
        "of a planner's call",
        "all prompt tokens",
        "executor calls",
        "planner calls",
        "accuracy",
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


def curation(
    workload: curating.Workload, complete: curating.CompleteRun, killed: curating.KilledRun
) -> Table:
    """Returns the rate and the memory of one curation process, and what a SIGKILL cost."""
    title = (
        f"Curation of {workload.trajectories:,} trajectories, "
        f"{workload.concurrency} concurrent requests of {workload.latency:g} s"
    )
    table = _table(title, ("", "measured"))
    table.add_row("ideal seconds", f"{workload.ideal_seconds:.1f}")
    table.add_row("seconds", f"{complete.seconds:.1f}")
    table.add_row("share of the ideal rate", f"{workload.ideal_seconds / complete.seconds:.1%}")
    for quarter in (1, 2, 3, 4) if complete.memory else ():
        index = len(complete.memory) * quarter // 4 - 1
        table.add_row(f"memory after {quarter}/4, MB", f"{complete.memory[index] / 1e6:.0f}")
    table.add_row("answers kept when killed", f"{killed.kept:,}")
    table.add_row("requests in flight when killed, sent again", str(killed.in_flight))
    table.add_row("other requests sent again", str(killed.repeated))
    table.add_row("same files as without a kill", "yes" if killed.same_files else "no")
    return table


def leaks(report: checking.LeakReport) -> Table:
    """Returns what the leak check found, by how the text shows a dependency."""
    table = _table(
        f"The leak check on {report.documents:,} documents",
        ("shown by", "removed", "found", "recall"),
    )
    for kind, removed in sorted(report.removed.items()):
        found = report.found.get(kind, 0)
        table.add_row(kind, f"{removed:,}", f"{found:,}", f"{found / removed:.0%}")
    total = [sum(counts.values()) for counts in (report.removed, report.found)]
    table.add_row("all", *(f"{count:,}" for count in total), f"{report.recall:.0%}")
    table.add_row(
        "documents flagged wrongly", "", f"{report.flagged:,}", f"{report.false_alarms:.1%}"
    )
    return table


def graphs(title: str, report: packing.GraphReport) -> Table:
    """Returns how dependency graphs were packed."""
    table = _table(title, ("", "measured"))
    table.add_row("graphs", f"{report.graphs:,}")
    table.add_row("components", f"{report.components:,}")
    table.add_row("stages", f"{report.stages:,}")
    table.add_row("fewest possible stages", f"{report.least_stages:,}")
    table.add_row("executions per stage", f"{report.executions / max(1, report.stages):.2f}")
    table.add_row("critical path, of all characters", f"{report.critical_path:.3f}")
    table.add_row("broken promises", f"{len(report.broken):,}")
    for problem in report.broken[:5]:
        table.add_row(problem, "")
    return table


def overhead(value: Mapping[str, Any]) -> list[Table]:
    """Returns the tables of the overhead benchmark, from its JSON object."""
    at_once = value["at_once"]
    by_runs = f"with {at_once['executors']} executors, by concurrent runs"
    (streams, shares), *_ = value["core_share"].items()
    share = _table(f"CPU for {streams} concurrent streams", ("method", "share of a core"))
    for method, used in shares.items():
        share.add_row(method, f"{used:.1%}")
    return [
        _grid("Milliseconds added to a stage, by executors", value["added_ms_per_stage"], 2),
        _grid("CPU ms per stage, with the engine's, by executors", value["cpu_ms_per_stage"], 2),
        _grid(f"Milliseconds added to a stage, {by_runs}", at_once["added_ms_per_stage"], 2),
        _grid(f"CPU ms per stage, with the engine's, {by_runs}", at_once["cpu_ms_per_stage"], 2),
        share,
        _grid(f"Peak of traced bytes per run, {by_runs}", value["bytes_per_run_of"], 0),
    ]


def _grid(title: str, values: Mapping[str, Mapping[str, float]], digits: int) -> Table:
    columns = list(next(iter(values.values())))
    table = _table(title, ("method", *columns))
    for method, row in values.items():
        table.add_row(method, *(f"{row[column]:,.{digits}f}" for column in columns))
    return table


def training(value: Mapping[str, Any]) -> Table:
    """Returns the ids per second in training, one row per method, with the ratios that matter."""
    heads = ("method", "ids/s", "ratio to trl", "ratio to expanded", "share of peak FLOP/s")
    table = _table("Training speed in ids of the data per second", heads)
    speeds = value["tokens_per_second"]
    for method, speed in speeds.items():
        used = value["utilisation"].get(method)
        table.add_row(
            method,
            f"{speed:,.0f}",
            f"{speed / speeds['trl']:.2f}" if method in ("linear", "trl") else "",
            f"{speed / speeds['expanded']:.2f}" if method in ("branched", "expanded") else "",
            f"{used:.0%}" if used is not None else "",
        )
    return table
