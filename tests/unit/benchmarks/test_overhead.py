"""The benchmark of overhead: every method does the same on the simulated engine, and is timed."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import pytest

import benchmarks.__main__ as command
from benchmarks import overhead, tables
from benchmarks.overhead import METHODS, Added, Memory, Share, Sizes
from benchmarks.simulated import ANSWER, QUESTION, Graph, Pace, TimedEngine
from sprint_agent import Sprint

SMALL = Sizes(
    executors=(1, 2),
    runs=(1, 3),
    side=2,
    repeats=1,
    streams=2,
    seconds=0.05,
    settle=0.05,
    pace=Pace(0.0, 0.0),
    stream_pace=Pace(0.0, 0.01),
)


@pytest.mark.anyio
@pytest.mark.parametrize("name", METHODS)
async def test_every_method_makes_the_calls_of_the_graph(name: str) -> None:
    engine = TimedEngine(Graph(executors=3, stages=2, tokens=4), Pace(0.0, 0.0))
    assert ANSWER in str(await METHODS[name](engine)())
    assert engine.calls == 2 * (1 + 3) + 1


@pytest.mark.anyio
async def test_our_loop_reads_what_the_graph_says() -> None:
    engine = TimedEngine(Graph(executors=3, stages=2, tokens=4, thought=5), Pace(0.0, 0.0))
    result = await Sprint(engine).solve(QUESTION)
    assert [[e.text for e in stage.executions] for stage in result.stages] == [
        ["hum\n" * 4] * 3
    ] * 2
    assert result.stages[0].plan.startswith("mmh " * 5 + "<Plan_1>\n")
    assert result.answer == ANSWER


def test_the_critical_path() -> None:
    engine = TimedEngine(Graph(executors=1, stages=1, tokens=2), Pace(first=1.0, token=0.1))
    # Each call also says its stop. The plan has 7 tokens, its closing tag is the sixth of them.
    plan, closed, execution, answer = 1.7, 1.5, 1.2, 1.4
    assert engine.critical_path("stage") == pytest.approx(plan + execution + answer)
    assert engine.critical_path("tag") == pytest.approx(closed + execution + answer)


def test_no_run_is_faster_than_its_critical_path() -> None:
    seen: list[Added] = []

    async def measure() -> None:
        sizes = replace(SMALL, executors=(2,), runs=(), pace=Pace(0.01, 0.002))
        async with aclosing(overhead.measure(sizes)) as figures:
            async for figure in figures:
                if not isinstance(figure, Added):
                    break
                seen.append(figure)

    overhead.run_precisely(measure())
    assert [figure.method for figure in seen] == list(METHODS)
    for figure in seen:
        assert figure.ms > 0
        assert figure.cpu_ms > 0


def test_all_figures_as_json_and_as_tables() -> None:
    figures: list[overhead.Figure] = []

    async def measure() -> None:
        figures.extend([figure async for figure in overhead.measure(SMALL)])

    overhead.run_precisely(measure())
    assert len(figures) == overhead.count(SMALL)
    said = json.loads(json.dumps(overhead.to_json(figures, SMALL)))
    assert set(said["added_ms_per_stage"]) == set(METHODS)
    assert set(said["added_ms_per_stage"]["sprint"]) == {"1", "2"}
    assert set(said["at_once"]["added_ms_per_stage"]["langgraph"]) == {"1", "3"}
    assert set(said["core_share"]["2"]) == set(overhead.STREAMING)
    assert said["bytes_per_run"]["3"] == said["bytes_per_run_of"]["sprint"]["3"] > 0
    assert [table.row_count for table in tables.overhead(said)] == [4, 4, 4, 4, 5, 4]


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def measure(sizes: Sizes) -> AsyncGenerator[overhead.Figure]:
        for name in METHODS:
            yield Added(name, executors=16, runs=1, ms=0.5, cpu_ms=0.25)
        yield Share("sprint", 0.125)
        yield Memory("sprint", runs=1000, bytes_per_run=2000.0)

    monkeypatch.setattr(overhead, "measure", measure)
    command.overhead(json=as_json)
    printed = capsys.readouterr().out
    if as_json:
        assert json.loads(printed)["added_ms_per_stage"]["langgraph"] == {"16": 0.5}
    else:
        for words in ("added to a stage", "CPU ms", "12.5%", "2,000", "langgraph"):
            assert words in printed
