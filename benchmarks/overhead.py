"""Measures what a loop adds to its engine: time per stage, CPU for token streams, memory per run.

The engine is simulated (`simulated.py`), so its critical path is known to the microsecond. The methods
(`peers.py`) run the same graph on it in the same process, one after another:

* `asyncio`: plain task groups, the floor.
* `langgraph`: another framework.
* `sprint`: our loop with exactly that graph. Its executors start when the plan is complete.
* `sprint_tag`: our loop with its default, so executors start at the closing tag of their prompt. Its own
  critical path is shorter, and it is compared with that one.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
import statistics
import time
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from benchmarks import peers
from benchmarks.peers import Method, RunOnce
from benchmarks.simulated import Graph, Latency, TimedEngine
from sprint_agent.runtime.scope import Dispatch

METHODS: dict[str, Method] = {
    "asyncio": peers.plain,
    "langgraph": peers.lang_graph,
    "sprint": peers.ours("stage"),
    "sprint_tag": peers.ours("tag"),
}
STREAMING: dict[str, tuple[Method, bool]] = {
    "asyncio": (peers.plain, False),
    "langgraph": (peers.lang_graph, False),
    "sprint": (peers.ours("stage"), False),
    "sprint_plans": (peers.ours("stage"), True),
    "sprint_watched": (peers.watched, False),
}
"""The methods whose CPU share is measured, and whether planners (else executors) write the streams."""


@dataclass(frozen=True, slots=True)
class Workload:
    """How much is measured."""

    executors: tuple[int, ...] = (1, 4, 16, 64)
    """Executors of a stage. One run at a time is measured with each of these."""
    runs: tuple[int, ...] = (1, 10, 100, 1000)
    """Concurrent runs. Each is measured for the time per stage, and the largest for the memory."""
    executors_at_once: int = 16
    """Executors of a stage when the runs are concurrent."""
    repeats: int = 3
    """How often one run at a time is repeated."""
    streams: int = 100
    """Concurrent token streams, for the CPU share."""
    seconds: float = 5.0
    """How long the CPU share is measured, after `settle` seconds."""
    latency: Latency = Latency()
    stream_latency: Latency = Latency(token=0.02)
    settle: float = 2.0

    @classmethod
    def bounded(
        cls, executors: Sequence[int] | None, runs: Sequence[int] | None, repeats: int
    ) -> Workload:
        """Returns the full workload with only these executors and runs. None keeps all.

        Raises:
            ValueError: One of the numbers is less than 1.
        """
        for name, values in (("executors", executors), ("runs", runs), ("repeats", (repeats,))):
            if values is not None and min(values, default=1) < 1:
                raise ValueError(f"--{name} must be at least 1, not {min(values)}")
        full = cls()
        return cls(
            executors=tuple(executors or full.executors),
            runs=tuple(runs or full.runs),
            repeats=repeats,
        )


@dataclass(frozen=True, slots=True)
class AddedTime:
    """The time that a method adds to a stage."""

    method: str
    executors: int
    runs: int
    ms: float
    """Median over the runs of (seconds - critical path) / stages, in milliseconds.

    The seconds include the turn in which the planner answers.
    """
    cpu_ms: float
    """CPU milliseconds per stage of a run, including those of the simulated engine."""


@dataclass(frozen=True, slots=True)
class CoreShare:
    """The share of one core that all streams take together, including the simulated engine."""

    method: str
    share: float


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """The peak of what Python has allocated (tracemalloc), divided by the concurrent runs."""

    method: str
    runs: int
    bytes_per_run: float


Measurement = AddedTime | CoreShare | PeakMemory


async def measure(workload: Workload) -> AsyncGenerator[Measurement]:
    """Yields each measurement as soon as it is known. Run it with `run_precisely`."""
    for executors, runs in _combinations(workload):
        for name in METHODS:
            repeats = workload.repeats if runs == 1 else 1
            yield await _measure_added(name, Graph(executors), workload.latency, runs, repeats)
    for name in STREAMING:
        yield await _measure_share(name, workload)
    runs = max(workload.runs)
    for name, method in METHODS.items():
        engine = TimedEngine(Graph(workload.executors_at_once), workload.latency)
        yield PeakMemory(name, runs, await _bytes_per_run(method(engine), runs))


def count(workload: Workload) -> int:
    """Returns the number of measurements that `measure` yields."""
    return (len(_combinations(workload)) + 1) * len(METHODS) + len(STREAMING)


def _combinations(workload: Workload) -> list[tuple[int, int]]:
    """Returns the executors and the concurrent runs of each measurement of the time per stage."""
    single = [(executors, 1) for executors in workload.executors]
    at_once = [(workload.executors_at_once, runs) for runs in workload.runs]
    return single + [combination for combination in at_once if combination not in single]


def run_precisely(main: Coroutine[Any, Any, None]) -> None:
    """Runs `main` on an event loop that wakes up within 0.1 ms of a timer.

    The usual event loop waits with epoll, in whole milliseconds. That would be most of the result.
    """

    def loop() -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(selectors.SelectSelector())

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main)


async def _measure_added(
    name: str, graph: Graph, latency: Latency, runs: int, repeats: int
) -> AddedTime:
    engine = TimedEngine(graph, latency)
    run = METHODS[name](engine)
    dispatch: Dispatch = "tag" if name == "sprint_tag" else "stage"
    critical = engine.critical_path(dispatch)
    await _run_at_once(METHODS[name](TimedEngine(graph, Latency(0.0, 0.0))), 1)  # warms up caches
    gc.collect()
    cpu = time.process_time()
    seconds = [one for _ in range(repeats) for one in await _run_at_once(run, runs)]
    cpu = time.process_time() - cpu
    return AddedTime(
        method=name,
        executors=graph.executors,
        runs=runs,
        ms=1000 * (statistics.median(seconds) - critical) / graph.stages,
        cpu_ms=1000 * cpu / (len(seconds) * graph.stages),
    )


async def _run_at_once(run: RunOnce, runs: int) -> list[float]:
    """Makes `runs` concurrent runs and returns the seconds of each."""
    seconds: list[float] = []

    async def timed() -> None:
        start = time.perf_counter()
        await run()
        seconds.append(time.perf_counter() - start)

    async with anyio.create_task_group() as group:
        for _ in range(runs):
            group.start_soon(timed)
    return seconds


async def _measure_share(name: str, workload: Workload) -> CoreShare:
    method, plans = STREAMING[name]
    # Twice as long as the measurement, because no stream may end before it.
    tokens = int(2 * (workload.settle + workload.seconds) / workload.stream_latency.token)
    graph = Graph(1, 1, thought=tokens) if plans else Graph(1, 1, tokens=tokens)
    run = method(TimedEngine(graph, workload.stream_latency))
    gc.collect()
    async with anyio.create_task_group() as group:
        for _ in range(workload.streams):
            group.start_soon(run)
        await anyio.sleep(workload.settle)
        cpu, wall = time.process_time(), time.perf_counter()
        await anyio.sleep(workload.seconds)
        share = (time.process_time() - cpu) / (time.perf_counter() - wall)
        group.cancel_scope.cancel()
    return CoreShare(name, share)


async def _bytes_per_run(run: RunOnce, runs: int) -> float:
    await _run_at_once(run, 1)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await _run_at_once(run, runs)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (peak - before) / runs


def to_json(measurements: Sequence[Measurement], workload: Workload) -> dict[str, Any]:
    """Returns all measurements as one JSON object."""
    added = [m for m in measurements if isinstance(m, AddedTime)]
    single = [m for m in added if m.runs == 1]
    at_once = [m for m in added if m.executors == workload.executors_at_once]
    shares = {m.method: m.share for m in measurements if isinstance(m, CoreShare)}
    memory = [m for m in measurements if isinstance(m, PeakMemory)]
    ours = {str(m.runs): m.bytes_per_run for m in memory if m.method == "sprint"}
    return {
        "added_ms_per_stage": _by_method(single, lambda m: {str(m.executors): m.ms}),
        "cpu_ms_per_stage": _by_method(single, lambda m: {str(m.executors): m.cpu_ms}),
        "at_once": {
            "executors": workload.executors_at_once,
            "added_ms_per_stage": _by_method(at_once, lambda m: {str(m.runs): m.ms}),
            "cpu_ms_per_stage": _by_method(at_once, lambda m: {str(m.runs): m.cpu_ms}),
        },
        "core_share": {str(workload.streams): shares},
        "bytes_per_run": ours,
        "bytes_per_run_of": {m.method: {str(m.runs): m.bytes_per_run} for m in memory},
    }


def _by_method(
    measurements: list[AddedTime], entry: Callable[[AddedTime], dict[str, float]]
) -> dict[str, dict[str, float]]:
    by_method: dict[str, dict[str, float]] = {name: {} for name in METHODS}
    for measurement in measurements:
        by_method[measurement.method] |= entry(measurement)
    return by_method
