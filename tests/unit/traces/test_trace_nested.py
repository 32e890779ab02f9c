"""Nested runs in traces: they are recorded, answered from a trace, and resumed after a kill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from sprint_agent import (
    Event,
    Limits,
    NestedEvent,
    NestedExecutor,
    RunEnded,
    Sampling,
    Sprint,
    Task,
    events,
    executor,
)
from sprint_agent.result import Result
from sprint_agent.testing import Reply, ScriptedEngine
from sprint_agent.traces.replay import TraceEngine
from sprint_agent.traces.trace import Trace
from tests.script import Continuing, answer, execution_of, plan

pytestmark = pytest.mark.anyio
SCRIPTS = {
    "What?": Continuing([plan("solve: hard", "late: x", "y"), plan("tool: z"), answer("5")]),
    "hard": Continuing([plan("tool: a", "deeper: harder", "b"), answer("inner")]),
    "harder": Continuing([plan("tool: c", "d"), answer("innermost")]),
}
"""Two runs inside a run, one in the other."""


def script(prompt: str) -> str:
    return SCRIPTS[prompt.split("\n")[1]](prompt)


class Counted:
    """An executor that records what it worked on: the run, the stage and the number."""

    name = "tool"
    description = "counts"
    schema = None

    def __init__(self) -> None:
        self.done: list[tuple[str, int, int]] = []

    async def execute(self, task: Task) -> str:
        await anyio.lowlevel.checkpoint()
        self.done.append((task.run.partition("/")[2], task.stage, task.number))
        return f"did {task.prompt}"


@executor
async def late(task: Task) -> str:
    """Calls the engine after the execution that follows this one."""
    for _ in range(3):
        await anyio.lowlevel.checkpoint()
    return (await task.generate()).text


def agent(engine: ScriptedEngine | TraceEngine, tool: Counted | None = None) -> Sprint:
    tool = tool or Counted()
    deeper = NestedExecutor(name="deeper", executors=[tool])
    solve = NestedExecutor(executors=[tool, deeper])
    return Sprint(engine, executors=[tool, late, solve], sampling=Sampling(seed=1))


def scripted() -> ScriptedEngine:
    return ScriptedEngine(script, chunk=60)


def told(result: Result) -> object:
    executions = [
        (e.status, e.text, e.ids, e.usage, e.sequential_tokens)
        for stage in result.stages
        for e in stage.executions
    ]
    return result.answer, result.text, executions, result.usage


def ended(path: Path) -> set[tuple[str, int, int]]:
    """The executions that a trace holds, in the form of `Counted.done`."""
    found: set[tuple[str, int, int]] = set()
    for event in Trace.read(path).events:
        own, where = (event.event, event.path) if isinstance(event, NestedEvent) else (event, ())
        if isinstance(own, events.ExecutionEnded):
            run = "/".join(f"{inside.stage}.{inside.number}" for inside in where)
            found.add((run, own.execution.stage, own.execution.number))
    return found


def answered(path: Path) -> Counter[str]:
    """The calls that a trace holds whole, by their prompts."""
    return Counter(call.prompt for call in Trace.read(path).calls() if call.finish is not None)


def kills(whole: Path) -> Iterator[Path]:
    """The trace as kills leave it: cut after each record, and in the middle of the next."""
    lines = whole.read_bytes().splitlines(keepends=True)
    path = whole.with_name("killed.jsonl")
    for kept in range(2, len(lines)):
        for torn in (b"", lines[kept][: len(lines[kept]) // 2]):
            path.write_bytes(b"".join(lines[:kept]) + torn)
            yield path


async def test_what_they_report_is_in_the_trace(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    async with agent(scripted()).stream("What?", trace=path) as run:
        seen = [event async for event in run]
    assert list(Trace.read(path).events) == seen
    within = [
        tuple((inside.stage, inside.number, inside.run) for inside in event.path)
        for event in seen
        if isinstance(event, NestedEvent) and isinstance(event.event, RunEnded)
    ]
    assert within == [((1, 1, 1), (1, 2, 1)), ((1, 1, 1),)]
    alone = await agent(scripted()).solve("harder")
    reported = [event for event in seen if isinstance(event, NestedEvent)]
    deepest = [event.inner.inner for event in reported if len(event.path) == 2]  # type: ignore[union-attr]
    assert isinstance(deepest[-1], RunEnded)
    assert told(deepest[-1].result) == told(alone)
    assert [event.at for event in seen] == sorted(event.at for event in seen)


async def test_an_engine_answers_them_from_it(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    result = await agent(scripted()).solve("What?", trace=path)
    again = await agent(TraceEngine(Trace.read(path))).solve("What?")
    assert told(again)[:2] == told(result)[:2]  # type: ignore[index]


async def test_killed_at_any_record_they_go_on_and_repeat_nothing(
    tmp_path: Path,
) -> None:
    whole = tmp_path / "whole.jsonl"
    result = await agent(scripted()).solve("What?", trace=whole)
    total = len(list(Trace.read(whole).calls()))
    killed = 0
    for path in kills(whole):
        killed += 1
        before, finished, content = ended(path), answered(path).total(), path.read_bytes()
        tool, engine = Counted(), scripted()
        async with agent(engine, tool).stream_resume(path) as run:
            assert told(await run.result()) == told(result)
        assert not before & set(tool.done)
        assert path.read_bytes().startswith(content[: content.rindex(b"\n") + 1])
        assert len(engine.requests) <= total - finished
        assert ended(path) == ended(whole)
        calls = [e.call for e in Trace.read(path).events if isinstance(e, events.CallStarted)]
        assert calls == list(range(1, len(calls) + 1))
        again = await agent(TraceEngine(Trace.read(path))).solve("What?")
        assert again.text == result.text
    assert killed > 100


async def test_what_was_used_counts_against_the_limits(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    result = await agent(scripted()).solve("What?", trace=whole)
    used = result.usage.completion_tokens
    lines = whole.read_bytes().splitlines(keepends=True)
    path = tmp_path / "killed.jsonl"
    # From where one call comes after another: of calls side by side, the first reserves all.
    first = next(k for k, line in enumerate(lines) if b'"inner"' in line and b"RunEnded" in line)
    last = max(k for k, line in enumerate(lines) if b'"CallStarted"' in line)
    assert last - first > 10
    for kept in range(first, last + 1):
        for limits, reached in [
            (Limits(tokens=used, executions=9), None),
            (Limits(tokens=used - 20), "tokens"),
            (Limits(executions=8), "executions"),
        ]:
            path.write_bytes(b"".join(lines[:kept]))
            async with agent(scripted()).stream_resume(path, limits=limits) as run:
                assert (await run.result()).limit == reached


async def test_one_that_a_deadline_had_ended_is_not_begun_again(tmp_path: Path) -> None:
    """Nor would it come to the same: what it did could not be done again in no time."""
    whole, path = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"

    def slow(prompt: str) -> str | Reply:
        hangs = prompt.startswith("<Question>\nhard\n") and execution_of(prompt) == (1, 3)
        return Reply("…", hang=True) if hangs else script(prompt)

    @executor
    async def partly(task: Task) -> str:
        found = await task.solve("hard", executors=[Counted()], limits=Limits(deadline=0.2))
        ended = [e.status for stage in found.stages for e in stage.executions]
        return f"{found.limit}, {ended}"

    def sprint(engine: ScriptedEngine) -> Sprint:
        return Sprint(engine, executors=[partly])

    def engine() -> ScriptedEngine:
        turns = Continuing([plan("partly: go"), answer("5")])
        return ScriptedEngine(lambda p: turns(p) if p.startswith("<Question>\nWhat?") else slow(p))

    result = await sprint(engine()).solve("What?", trace=whole)
    # How far it came depends on the machine, and must be told just so again.
    assert result.stages[0].executions[0].text.startswith("deadline, ")
    lines = whole.read_bytes().splitlines(keepends=True)
    over = next(k for k, line in enumerate(lines) if b'"RunEnded"' in line)
    path.write_bytes(b"".join(lines[: over + 1]))
    again = engine()
    async with sprint(again).stream_resume(path) as run:
        assert told(await run.result()) == told(result)
    assert not any("Question>\nhard" in again.prompt_text(r) for r in again.requests)


async def test_several_side_by_side_are_told_apart_by_their_questions(tmp_path: Path) -> None:
    """An execution that begins its runs in another order than before finds each of them again."""
    order = ["hard", "harder"]
    found: dict[str, str | None] = {}

    @executor
    async def both(task: Task) -> str:
        async with anyio.create_task_group() as group:
            for question in order:
                group.start_soon(ask, task, question)
        await anyio.lowlevel.checkpoint()
        return str(sorted(found.items()))

    async def ask(task: Task, question: str) -> None:
        tool = Counted()
        deeper = NestedExecutor(name="deeper", executors=[tool])
        found[question] = (await task.solve(question, executors=[tool, deeper])).answer

    def sprint(engine: ScriptedEngine) -> Sprint:
        return Sprint(engine, executors=[both])

    def engine() -> ScriptedEngine:
        turns = Continuing([plan("both: go"), answer("5")])
        return ScriptedEngine(
            lambda p: turns(p) if p.startswith("<Question>\nWhat?") else script(p), chunk=1000
        )

    whole, path = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    await sprint(engine()).solve("What?", trace=whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    (over,) = (
        k for k, line in enumerate(lines) if b'"ExecutionEnded"' in line and b"innermost')" in line
    )
    order.reverse()
    found.clear()
    path.write_bytes(b"".join(lines[:over]))
    again = engine()
    async with sprint(again).stream_resume(path) as run:
        result = await run.result()
    assert result.stages[0].executions[0].text == "[('hard', 'inner'), ('harder', 'innermost')]"
    assert not any("Question>\nhard" in again.prompt_text(r) for r in again.requests)


def test_an_event_of_a_run_in_a_run_loses_one_place_after_the_other() -> None:
    event: Event = events.RunStarted(0.0, "q")
    for where in (events.ParentExecution(0.1, 2, 3, 1), events.ParentExecution(5.0, 1, 1, 2)):
        event = NestedEvent.of(where, event)
    assert isinstance(event, NestedEvent)
    assert event.at == 5.0
    assert isinstance(event.inner, NestedEvent)
    assert event.inner.at == 0.1
    assert event.inner.inner == events.RunStarted(0.0, "q")
