"""Traces: what is written reads back, and a run that was killed resumes and repeats nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from sprint_agent import Limits, Sampling, Sprint, Task, events, first_success
from sprint_agent.errors import EngineError, TraceError, TruncatedStream
from sprint_agent.protocol import tags
from sprint_agent.result import Result
from sprint_agent.testing import Reply, ScriptedEngine
from sprint_agent.traces.replay import TraceEngine
from sprint_agent.traces.trace import Trace
from tests.script import Continuing, Scripted, answer, plan

pytestmark = pytest.mark.anyio
TURNS = [plan("one", "tool: two", "three"), plan("four"), answer("5")]


class Counted:
    """An executor that counts how often each prompt was worked on."""

    name = "tool"
    description = "counts"
    schema = None

    def __init__(self) -> None:
        self.done: list[tuple[int, int]] = []

    async def execute(self, task: Task) -> str:
        await anyio.lowlevel.checkpoint()
        self.done.append((task.stage, task.number))
        return f"did {task.stage}.{task.number}"


def agent(tool: Counted, script: Callable[[str], object] | None = None) -> Sprint:
    engine = ScriptedEngine(script or Continuing(TURNS))  # type: ignore[arg-type]
    return Sprint(engine, executors=[tool], sampling=Sampling(seed=1))


def cut_off(path: Path) -> None:
    """Leaves of a trace what a kill leaves while the planner writes its first turn."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(
        b"".join(lines[: next(k for k, at in enumerate(lines) if b"PlanText" in at) + 1])
    )


def same(one: Result, other: Result) -> bool:
    def told(result: Result) -> object:
        return (
            result.answer,
            result.text,
            [[(e.status, e.text, e.ids) for e in stage.executions] for stage in result.stages],
            result.usage.completion_tokens,
            result.usage.sequential_tokens,
        )

    return told(one) == told(other)


async def test_a_trace_reads_back_as_the_events_of_the_run(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    async with agent(Counted()).stream("What?", trace=path) as run:
        seen = [event async for event in run]
    assert list(Trace.read(path).events) == seen
    assert Trace.read(path).result == (await run.result())


async def test_an_engine_answers_from_it(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    result = await agent(Counted()).solve("What?", trace=path)
    again = Sprint(TraceEngine(Trace.read(path)), executors=[Counted()])
    assert same(await again.solve("What?"), result)
    with pytest.raises(TraceError, match="contains no call"):
        await again.solve("Something else?")


async def test_an_engine_answers_from_it_where_a_success_ended_a_stage(tmp_path: Path) -> None:
    """Calls that were left while they wrote, or before, say nothing more and wait to be left again.

    And the planner has written what it had when it was left, however quickly the others answer now.
    """
    path, join = tmp_path / "run.jsonl", first_success(lambda e: "found" in e.text)
    planned = anyio.Event()
    prompts = [tags.prompt(1, n, "look") for n in (1, 2, 3)]
    turns = [Reply(tags.plan(1, prompts) + "and", hang=True, sets=planned), answer("5")]
    executions: dict[tuple[int, int], str | Reply] = {
        (1, 1): Reply("sl", hang=True),
        (1, 2): Reply("found\n", after=planned),
        (1, 3): Reply("", hang=True),
    }
    recorded = Sprint(ScriptedEngine(Scripted(turns, executions)))
    result = await recorded.solve("What?", join=join, trace=path)
    assert [e.status for e in result.stages[0].executions] == ["stopped", "done", "stopped"]
    with anyio.fail_after(5):
        again = await Sprint(TraceEngine(Trace.read(path))).solve("What?", join=join)
    assert again.text == result.text


async def test_an_engine_has_no_end_for_a_call_that_a_kill_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await agent(Counted()).solve("What?", trace=path)
    cut_off(path)
    with pytest.raises(TruncatedStream):
        await Sprint(TraceEngine(Trace.read(path))).solve("What?")


async def test_a_run_killed_at_any_record_goes_on_and_repeats_nothing(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    result = await agent(Counted()).solve("What?", trace=whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    for kept in range(2, len(lines)):
        for torn in (b"", lines[kept][: len(lines[kept]) // 2]):
            path = tmp_path / "killed.jsonl"
            path.write_bytes(b"".join(lines[:kept]) + torn)
            before = [
                (e.execution.stage, e.execution.number)
                for e in Trace.read(path).events
                if isinstance(e, events.ExecutionEnded)
            ]
            tool = Counted()
            resumed = agent(tool, Continuing(TURNS))
            async with resumed.stream_resume(path) as run:
                assert same(await run.result(), result)
            assert not set(before) & set(tool.done)
            assert Trace.read(path).result is not None
            # What was there stays as it was, up to the last complete line.
            assert path.read_bytes().startswith(b"".join(lines[:kept]))


async def test_what_was_generated_is_not_generated_again(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    await agent(Counted()).solve("What?", trace=whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    for kept in range(2, len(lines)):
        path = tmp_path / "killed.jsonl"
        path.write_bytes(b"".join(lines[:kept]))
        finished = sum(call.finish is not None for call in Trace.read(path).calls())
        total = len(list(Trace.read(whole).calls()))
        engine = ScriptedEngine(Continuing(TURNS))
        async with Sprint(engine, executors=[Counted()], sampling=Sampling(seed=1)).stream_resume(
            path
        ) as run:
            await run.result()
        assert len(engine.requests) <= total - finished


async def test_a_stage_that_a_success_ended_ends_so_again(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    join = first_success(lambda e: "1.2" in e.text)
    result = await agent(Counted()).solve("What?", join=join, trace=whole)
    assert (accepted := result.stages[0].accepted)
    assert accepted.number == 2
    lines = whole.read_bytes().splitlines(keepends=True)
    for kept in range(2, len(lines)):
        path = tmp_path / "killed.jsonl"
        path.write_bytes(b"".join(lines[:kept]))
        async with agent(Counted()).stream_resume(path, join=join) as run:
            again = await run.result()
        assert again.answer == result.answer
        assert (accepted := again.stages[0].accepted)
        assert accepted.number == 2


async def test_the_clock_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await agent(Counted()).solve("What?", trace=path)
    lines = path.read_text().splitlines()[:6]
    last = json.loads(lines[-1])
    last["at"] = 100.0
    path.write_text("\n".join([*lines[:-1], json.dumps(last)]) + "\n")
    async with agent(Counted()).stream_resume(path, limits=Limits(deadline=99)) as run:
        result = await run.result()
    assert result.limit == "deadline"
    assert result.seconds >= 100


async def test_a_finished_run_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    await agent(Counted()).solve("What?", trace=path)
    before = path.read_bytes()
    with pytest.raises(TraceError, match="has ended"):
        await agent(Counted()).resume(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a trace of version 3"),
        (b'{"event": "RunStarted", "at": 0, "question": ""}\n', "not a trace of version 3"),
        (b'{"trace": 1}\n', "was written by version 1 of the trace format"),
        (b'{"trace": 4}\n', "was written by version 4 of the trace format"),
        (b'{"trace": 3}\nnonsense\n', "line 2: not JSON"),
        (b'{"trace": 3}\n[]\n', "line 2: not a JSON object"),
        (b'{"trace": 3}\n{"event": "Other"}\n', "line 2: not an event"),
        (b'{"trace": 3}\n{"event": "RunStarted", "at": "x", "question": ""}\n', "line 2"),
        (b'{"trace": 3}\n', "before its run began"),
    ],
)
async def test_what_is_no_trace_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=message):
        await agent(Counted()).resume(path)
    assert path.read_bytes() == content


async def test_a_trace_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot write"):
        await agent(Counted()).solve("What?", trace=tmp_path / "no" / "such" / "folder")


async def test_a_failed_try_is_kept_and_not_sent_again(tmp_path: Path) -> None:
    failures = [EngineError("full", transient=True, retry_after=0.0)]
    turns = Continuing(TURNS)

    def script(prompt: str) -> object:
        if failures:
            raise failures.pop()
        return turns(prompt)

    path = tmp_path / "run.jsonl"
    async with agent(Counted(), script).stream("What?", trace=path) as run:
        seen = [event async for event in run]
    assert sum(isinstance(event, events.CallRetried) for event in seen) == 1
    assert (await run.result()).answer == "5"
