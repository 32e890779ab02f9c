"""The overhead benchmark: each method does the same on the simulated engine, and is timed."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import pytest

import benchmarks.__main__ as command
from benchmarks import overhead, tables
from benchmarks.overhead import METHODS, AddedTime, CoreShare, PeakMemory, Workload
from benchmarks.simulated import ANSWER, QUESTION, Graph, Latency, TimedEngine
from sprint_agent import Sprint

SMALL = Workload(
    executors=(1, 2),
    runs=(1, 3),
    executors_at_once=2,
    repeats=1,
    streams=2,
    seconds=0.05,
    settle=0.05,
    latency=Latency(0.0, 0.0),
    stream_latency=Latency(0.0, 0.01),
)


@pytest.mark.anyio
@pytest.mark.parametrize("name", METHODS)
async def test_every_method_makes_the_calls_of_the_graph(name: str) -> None:
    engine = TimedEngine(Graph(executors=3, stages=2, tokens=4), Latency(0.0, 0.0))
    assert ANSWER in str(await METHODS[name](engine)())
    assert engine.calls == 2 * (1 + 3) + 1


@pytest.mark.anyio
async def test_our_loop_reads_the_texts_of_the_graph() -> None:
    engine = TimedEngine(Graph(executors=3, stages=2, tokens=4, thought=5), Latency(0.0, 0.0))
    result = await Sprint(engine).solve(QUESTION)
    assert [[e.text for e in stage.executions] for stage in result.stages] == [
        ["hum\n" * 4] * 3
    ] * 2
    assert result.stages[0].plan.startswith("mmh " * 5 + "<Plan_1>\n")
    assert result.answer == ANSWER


def test_the_critical_path() -> None:
    engine = TimedEngine(Graph(executors=1, stages=1, tokens=2), Latency(first=1.0, token=0.1))
    # Each call also writes its stop string. The plan has 7 tokens, and its closing tag is the sixth.
    plan, closed, execution, answer = 1.7, 1.5, 1.2, 1.4
    assert engine.critical_path("stage") == pytest.approx(plan + execution + answer)
    assert engine.critical_path("tag") == pytest.approx(closed + execution + answer)


def test_no_run_is_faster_than_its_critical_path() -> None:
    seen: list[AddedTime] = []

    async def measure() -> None:
        workload = replace(SMALL, executors=(2,), runs=(), latency=Latency(0.01, 0.002))
        async with aclosing(overhead.measure(workload)) as measurements:
            async for measurement in measurements:
                if not isinstance(measurement, AddedTime):
                    break
                seen.append(measurement)

    overhead.run_precisely(measure())
    assert [added.method for added in seen] == list(METHODS)
    for added in seen:
        assert added.ms > 0
        assert added.cpu_ms > 0


def test_all_measurements_as_json_and_as_tables() -> None:
    measurements: list[overhead.Measurement] = []

    async def measure() -> None:
        measurements.extend([one async for one in overhead.measure(SMALL)])

    overhead.run_precisely(measure())
    assert len(measurements) == overhead.count(SMALL)
    value = json.loads(json.dumps(overhead.to_json(measurements, SMALL)))
    assert set(value["added_ms_per_stage"]) == set(METHODS)
    assert set(value["added_ms_per_stage"]["sprint"]) == {"1", "2"}
    assert set(value["at_once"]["added_ms_per_stage"]["langgraph"]) == {"1", "3"}
    assert set(value["core_share"]["2"]) == set(overhead.STREAMING)
    assert value["bytes_per_run"]["3"] == value["bytes_per_run_of"]["sprint"]["3"] > 0
    assert [table.row_count for table in tables.overhead(value)] == [4, 4, 4, 4, 5, 4]


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def measure(workload: Workload) -> AsyncGenerator[overhead.Measurement]:
        for name in METHODS:
            yield AddedTime(name, executors=16, runs=1, ms=0.5, cpu_ms=0.25)
        yield CoreShare("sprint", 0.125)
        yield PeakMemory("sprint", runs=1000, bytes_per_run=2000.0)

    monkeypatch.setattr(overhead, "measure", measure)
    command.overhead(json=as_json)
    printed = capsys.readouterr().out
    if as_json:
        assert json.loads(printed)["added_ms_per_stage"]["langgraph"] == {"16": 0.5}
    else:
        for words in ("added to a stage", "CPU ms", "12.5%", "2,000", "langgraph"):
            assert words in printed


def test_the_workload_can_be_bounded() -> None:
    assert Workload.bounded(None, None, 3) == Workload()
    bounded = Workload.bounded([16], [1], 5)
    assert bounded == Workload(executors=(16,), runs=(1,), repeats=5)
    # One combination of executors and runs, the streams, and the memory.
    assert overhead.count(bounded) == 2 * len(METHODS) + len(overhead.STREAMING)


@pytest.mark.parametrize("option", ["executors", "runs", "repeats"])
def test_a_workload_of_nothing_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"--{option} must be at least 1, not 0"):
        command.app(["overhead", f"--{option}", "0"], exit_on_error=False, print_error=False)
