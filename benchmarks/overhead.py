"""What a loop adds to its engine: time a stage, CPU for streams of tokens, memory a run.

The engine is simulated (`simulated.py`), so its critical path is known to the microsecond, and the
methods (`peers.py`) run the same graph on it in the same process, one after another:

* `asyncio`: plain task groups, the floor;
* `langgraph`: a peer;
* `sprint`: our loop with that very graph, whose executors start when the plan is whole;
* `sprint_tag`: our loop as it is by default, with executors that start at the closing tag. It is held
  against its own critical path, which is shorter.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
import statistics
import time
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import anyio

from benchmarks import peers
from benchmarks.peers import Method, Run
from benchmarks.simulated import Graph, Pace, TimedEngine
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
"""Whose CPU share is measured, and whether the streams are planners' (else executors')."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    The time that a stage adds: for one run of each of `executors`, `repeats` times over, and for
    each of `runs` at once with `side` executors. The CPU share: for `streams` streams over
    `seconds`. The memory: for the most of `runs`, with `side` executors.
    """

    executors: tuple[int, ...] = (1, 4, 16, 64)
    runs: tuple[int, ...] = (1, 10, 100, 1000)
    side: int = 16
    repeats: int = 3
    streams: int = 100
    seconds: float = 5.0
    pace: Pace = Pace()
    stream_pace: Pace = Pace(token=0.02)
    settle: float = 2.0


SIZES = Sizes()


@dataclass(frozen=True, slots=True)
class Added:
    """What a method adds to a stage.

    `ms` is the median over runs of (seconds - critical path) / stages, in milliseconds; the answer's
    turn counts with the stages before it. `cpu_ms` is the CPU time that a run takes for a stage, the
    simulated engine's own included.
    """

    method: str
    executors: int
    runs: int
    ms: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Share:
    """The share of one core that all streams take together, the simulated engine's own included."""

    method: str
    share: float


@dataclass(frozen=True, slots=True)
class Memory:
    """The peak of what Python had allocated (tracemalloc), by runs at once, in bytes."""

    method: str
    runs: int
    bytes_per_run: float


Figure = Added | Share | Memory


async def measure(sizes: Sizes) -> AsyncGenerator[Figure]:
    """All figures, each as soon as it is known. Run it by `run_precisely`."""
    for executors, runs in _cells(sizes):
        for name in METHODS:
            repeats = sizes.repeats if runs == 1 else 1
            yield await _added(name, Graph(executors), sizes.pace, runs, repeats)
    for name in STREAMING:
        yield await _share(name, sizes)
    for name, method in METHODS.items():
        engine = TimedEngine(Graph(sizes.side), sizes.pace)
        yield Memory(name, max(sizes.runs), await _bytes_per_run(method(engine), max(sizes.runs)))


def count(sizes: Sizes) -> int:
    """How many figures `measure` yields."""
    return (len(_cells(sizes)) + 1) * len(METHODS) + len(STREAMING)


def _cells(sizes: Sizes) -> list[tuple[int, int]]:
    """Executors and runs at once, wherever the time of a stage is measured."""
    alone = [(executors, 1) for executors in sizes.executors]
    return alone + [(sizes.side, runs) for runs in sizes.runs if (sizes.side, runs) not in alone]


def run_precisely(main: Coroutine[Any, Any, None]) -> None:
    """Runs `main` on an event loop that wakes within 0.1 ms of a timer.

    The usual one waits by epoll, in whole milliseconds, which would be most of what is measured.
    """

    def loop() -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(selectors.SelectSelector())

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main)


async def _added(name: str, graph: Graph, pace: Pace, runs: int, repeats: int) -> Added:
    engine = TimedEngine(graph, pace)
    run = METHODS[name](engine)
    dispatch: Dispatch = "tag" if name == "sprint_tag" else "stage"
    critical = engine.critical_path(dispatch)
    await _at_once(METHODS[name](TimedEngine(graph, Pace(0.0, 0.0))), 1)  # warms caches up
    gc.collect()
    cpu = time.process_time()
    seconds = [one for _ in range(repeats) for one in await _at_once(run, runs)]
    cpu = time.process_time() - cpu
    return Added(
        method=name,
        executors=graph.executors,
        runs=runs,
        ms=1000 * (statistics.median(seconds) - critical) / graph.stages,
        cpu_ms=1000 * cpu / (len(seconds) * graph.stages),
    )


async def _at_once(run: Run, runs: int) -> list[float]:
    """Makes `runs` runs at once; returns the seconds that each took."""
    seconds: list[float] = []

    async def timed() -> None:
        began = time.perf_counter()
        await run()
        seconds.append(time.perf_counter() - began)

    async with anyio.create_task_group() as group:
        for _ in range(runs):
            group.start_soon(timed)
    return seconds


async def _share(name: str, sizes: Sizes) -> Share:
    method, plans = STREAMING[name]
    # Twice what is listened to, since streams must not end before.
    tokens = int(2 * (sizes.settle + sizes.seconds) / sizes.stream_pace.token)
    graph = Graph(1, 1, thought=tokens) if plans else Graph(1, 1, tokens=tokens)
    run = method(TimedEngine(graph, sizes.stream_pace))
    gc.collect()
    async with anyio.create_task_group() as group:
        for _ in range(sizes.streams):
            group.start_soon(run)
        await anyio.sleep(sizes.settle)
        cpu, wall = time.process_time(), time.perf_counter()
        await anyio.sleep(sizes.seconds)
        share = (time.process_time() - cpu) / (time.perf_counter() - wall)
        group.cancel_scope.cancel()
    return Share(name, share)


async def _bytes_per_run(run: Run, runs: int) -> float:
    await _at_once(run, 1)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await _at_once(run, runs)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (peak - before) / runs


def to_json(figures: list[Figure], sizes: Sizes) -> dict[str, Any]:
    """The figures as one JSON object."""
    added = [f for f in figures if isinstance(f, Added)]
    alone = [f for f in added if f.runs == 1]
    crowd = [f for f in added if f.executors == sizes.side]
    memory = [f for f in figures if isinstance(f, Memory)]
    ours = {str(f.runs): f.bytes_per_run for f in memory if f.method == "sprint"}
    return {
        "added_ms_per_stage": _by_method(alone, lambda f: {str(f.executors): f.ms}),
        "cpu_ms_per_stage": _by_method(alone, lambda f: {str(f.executors): f.cpu_ms}),
        "at_once": {
            "executors": sizes.side,
            "added_ms_per_stage": _by_method(crowd, lambda f: {str(f.runs): f.ms}),
            "cpu_ms_per_stage": _by_method(crowd, lambda f: {str(f.runs): f.cpu_ms}),
        },
        "core_share": {
            str(sizes.streams): {f.method: f.share for f in figures if isinstance(f, Share)}
        },
        "bytes_per_run": ours,
        "bytes_per_run_of": {f.method: {str(f.runs): f.bytes_per_run} for f in memory},
    }


def _by_method(
    figures: list[Added], one: Callable[[Added], dict[str, float]]
) -> dict[str, dict[str, float]]:
    by_method: dict[str, dict[str, float]] = {name: {} for name in METHODS}
    for figure in figures:
        by_method[figure.method] |= one(figure)
    return by_method
