"""What a resumed run takes from its trace, and what it appends to it."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from sprint_agent import (
    Execution,
    ExecutionStarted,
    ExecutionText,
    Limits,
    PlanText,
    PromptReady,
    Sprint,
    Task,
    Trace,
    TraceError,
    executor,
    first_success,
)
from sprint_agent.result import Prompt
from sprint_agent.testing import Reply, ScriptedEngine
from sprint_agent.traces import recorder
from sprint_agent.traces.resume import ResumedRun
from tests.script import Continuing, Scripted, answer, continuing, plan

pytestmark = pytest.mark.anyio
Record = dict[str, Any]


def cut(path: Path, after: Callable[[Record], bool], *, last: bool = False) -> None:
    """Cuts a trace as a kill does, after the first (or the last) record of a kind."""
    lines = path.read_bytes().splitlines(keepends=True)
    ends = [k for k, line in enumerate(lines, 1) if after(json.loads(line))]
    end = ends[-1 if last else 0]
    path.write_bytes(b"".join(lines[:end]))


def execution_ended(stage: int) -> Callable[[Record], bool]:
    return lambda r: r.get("event") == "ExecutionEnded" and r["execution"]["stage"] == stage


def stage_ended(stage: int) -> Callable[[Record], bool]:
    return lambda r: r.get("event") == "StageEnded" and r["stage"]["number"] == stage


class Paid:
    """An executor whose work must not be done twice."""

    name = "pay"
    description = "pays"
    schema = None

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def execute(self, task: Task) -> str:
        self.calls.append(task.prompt)
        return f"paid {task.prompt}"


class TestWhatIsTaken:
    async def test_a_stage_is_ended_again_by_what_ended_it(self, tmp_path: Path) -> None:
        """Not by what the check would have accepted as well, had it come first."""
        path, won = tmp_path / "run.jsonl", anyio.Event()
        asked: list[int] = []

        def check(execution: Execution) -> bool:
            if execution.stage == 1:
                asked.append(execution.number)
                won.set()
            return execution.stage == 1

        @executor
        async def stubborn(query: str) -> str:
            """Is done although it is cancelled."""
            with anyio.CancelScope(shield=True):
                await won.wait()
            return query

        def script(prompt: str) -> str:
            if "</Execution_2>" in prompt:
                return answer("1")
            if "</Execution_1>" in prompt:
                accepted = "1.1" if "1.1 accepted" in prompt else "1.2"
                return plan(f"pay: after {accepted}", stage=2)
            return plan("stubborn: a", "pay: b")

        def agent(paid: Paid) -> Sprint:
            engine = ScriptedEngine(continuing(script))
            return Sprint(engine, executors=[stubborn, paid], join=first_success(check))

        result = await agent(Paid()).solve("What?", trace=path)
        assert [e.status for e in result.stages[0].executions] == ["done", "done"]
        assert (accepted := result.stages[0].accepted)
        assert accepted.number == 2
        cut(path, execution_ended(2))
        again = Paid()
        async with agent(again).stream_resume(path) as run:
            assert (await run.result()).text == result.text
        assert again.calls == []
        assert asked == [2]

    async def test_what_a_check_said_is_said_again(self, tmp_path: Path) -> None:
        path, took = tmp_path / "run.jsonl", iter(range(100))
        join = first_success(lambda e: f"took {next(took)} ms" if e.stage == 1 else False)
        result = await invoices(Paid()).solve("What?", join=join, trace=path)
        assert result.stages[1].prompts[0].text == "invoice 0"
        cut(path, execution_ended(2))
        again = Paid()
        async with invoices(again).stream_resume(path, join=join) as run:
            assert (await run.result()).text == result.text
        assert again.calls == []

    async def test_another_prompt_is_worked_on_anew(self, tmp_path: Path) -> None:
        """The agent is not quite like the one that began the run, and so its plan is another."""
        path = tmp_path / "run.jsonl"
        join = first_success(lambda e: "took 0 ms" if e.stage == 1 else False)
        await invoices(Paid()).solve("What?", join=join, trace=path)
        cut(path, stage_ended(2))
        again = Paid()
        async with invoices(again).stream_resume(path, join="all") as run:
            stage = (await run.result()).stages[1]
        assert [p.text for p in stage.prompts] == ["invoice none"]
        assert [e.text for e in stage.executions] == ["paid invoice none"]
        assert again.calls == ["invoice none"]

    async def test_another_executor_of_the_same_prompt_does_its_own_work(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "run.jsonl"
        await invoices(Paid()).solve("What?", trace=path)
        for given, taken in [("pay", True), ("other", False), (None, False)]:
            found = ResumedRun(Trace.read(path)).execution(1, Prompt(1, "zero", given, 0))
            assert (found is not None) == taken

    async def test_what_was_cut_short_as_a_run_was_left_is_done(self, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        turns: list[str | Reply] = [plan("one"), answer("1")]
        hanging = Scripted(turns, {(1, 1): Reply("did", hang=True)})
        async with Sprint(ScriptedEngine(hanging)).stream("What?", trace=path) as run:
            async for event in run:
                if isinstance(event, ExecutionText):
                    break
        engine = ScriptedEngine(Continuing([plan("one"), answer("1")]))
        async with Sprint(engine).stream_resume(path) as run:
            (stage,) = (await run.result()).stages
        assert [(e.status, e.text) for e in stage.executions] == [("done", "did 1.1\n")]

    async def test_a_stage_that_is_planned_anew_is_checked_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        await invoices(Paid()).solve("What?", join=first_success(lambda e: True), trace=path)
        resumed = ResumedRun(Trace.read(path))
        stage = resumed.stage(1)
        assert stage is not None
        assert stage.accepted
        assert stage.accepted.number == 1
        assert resumed.call(1, None, "another prompt's digest") is None
        assert resumed.stage(1) is None


class TestTheTrace:
    """A resumed run is appended to its trace: what was there stays as it was."""

    async def killed(self, path: Path) -> bytes:
        """Writes the trace of a run that was killed after its second stage, and returns it."""
        await invoices(Paid()).solve("What?", trace=path)
        cut(path, stage_ended(2))
        return content(path)

    async def finish(self, path: Path) -> None:
        """Resumes the run, which must do nothing twice, to its end."""
        before = content(path)
        again = Paid()
        assert (await invoices(again).resume(path)).answer == "1"
        assert again.calls == []
        assert content(path).startswith(before)
        result = Trace.read(path).result
        assert result is not None
        assert result.answer == "1"

    async def test_it_contains_nothing_twice(self, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        await invoices(Paid()).solve("What?", trace=path)
        whole = [json.loads(line) for line in path.read_bytes().splitlines()]
        cut(path, stage_ended(2))
        await self.finish(path)
        resumed = [json.loads(line) for line in path.read_bytes().splitlines()]
        again = [r.get("event", "header") for r in resumed]
        assert again.count("RunResumed") == 1
        assert again.count("header") == 2
        left = [name for name in again if name not in ("RunResumed", "header")]
        assert left == [r["event"] for r in whole if "event" in r]

    async def test_a_run_that_is_left_at_once_is_resumed_again(self, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        before = await self.killed(path)
        async with invoices(Paid()).stream_resume(path):
            pass
        assert path.read_bytes().startswith(before)
        await self.finish(path)

    @pytest.mark.parametrize("limits", [Limits(deadline=1e-6), Limits(executions=1)])
    async def test_a_run_that_a_limit_ended_is_resumed_with_other_limits(
        self, tmp_path: Path, limits: Limits
    ) -> None:
        path = tmp_path / "run.jsonl"
        before = await self.killed(path)
        assert (await invoices(Paid()).resume(path, limits=limits)).limit is not None
        assert path.read_bytes().startswith(before)
        await self.finish(path)

    async def test_a_run_that_was_killed_twice(self, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        await self.killed(path)
        hanging = Sprint(ScriptedEngine(lambda prompt: Reply("So", hang=True)), executors=[Paid()])
        async with hanging.stream_resume(path) as run:
            async for event in run:
                if isinstance(event, PlanText) and (event.stage, event.text) == (3, "o"):
                    break
        assert [r.text for r in texts(path) if r.stage == 3] == ["S", "o"]
        await self.finish(path)

    async def test_a_run_that_took_another_way_is_resumed_on_that(self, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        join = first_success(lambda e: "took 0 ms" if e.stage == 1 else False)
        await invoices(Paid()).solve("What?", join=join, trace=path)
        cut(path, stage_ended(2))
        assert (await invoices(Paid()).resume(path, join="all")).answer == "1"
        cut(path, stage_ended(2), last=True)
        again = Paid()
        result = await invoices(again).resume(path, join="all")
        assert [p.text for p in result.stages[1].prompts] == ["invoice none"]
        assert again.calls == []

    async def test_a_run_that_went_back_to_its_first_way_is_complete(self, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        accepting = first_success(lambda e: "took 0 ms" if e.stage == 1 else False)
        for join in (accepting, "all", accepting):
            if path.exists():
                await invoices(Paid()).resume(path, join=join)
            else:
                await invoices(Paid()).solve("What?", join=join, trace=path)
            cut(path, stage_ended(2), last=True)
        again = Paid()
        async with invoices(again).stream_resume(path, join=accepting) as run:
            seen = [event async for event in run]
        assert again.calls == []
        assert [e.text for e in seen if isinstance(e, PromptReady)] == ["zero", "invoice 0"]
        started = [(e.stage, e.number) for e in seen if isinstance(e, ExecutionStarted)]
        assert started == [(1, 1), (2, 1)]

    async def test_one_that_cannot_be_written_loses_no_result(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "run.jsonl"
        before = await self.killed(path)
        written = json.dumps

        def fail(record: Record) -> str:
            if record.get("event") == "RunEnded":
                raise OSError(errno.ENOSPC, "No space left on device")
            return written(record)

        with monkeypatch.context() as broken:
            broken.setattr(recorder, "json", SimpleNamespace(dumps=fail))
            with pytest.raises(TraceError, match="is incomplete: No space left") as raised:
                await invoices(Paid()).resume(path)
        assert raised.value.result is not None
        assert raised.value.result.answer == "1"
        assert path.read_bytes().startswith(before)
        await self.finish(path)

    async def test_one_that_another_run_is_writing_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        await self.killed(path)
        async with invoices(Paid()).stream_resume(path):
            before = path.read_bytes()
            with pytest.raises(TraceError, match="another run is writing"):
                await invoices(Paid()).resume(path)
            with pytest.raises(TraceError, match="another run is writing"):
                await invoices(Paid()).solve("What?", trace=path)
            assert path.read_bytes().startswith(before)

    async def test_a_torn_line_is_removed(self, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        before = await self.killed(path)
        path.write_bytes(before + b'{"event": "Stage')
        assert (await invoices(Paid()).resume(path)).answer == "1"
        assert path.read_bytes().startswith(before + b'{"trace": 3}\n')


def content(path: Path) -> bytes:
    return path.read_bytes()


def texts(path: Path) -> list[PlanText]:
    return [event for event in Trace.read(path).events if isinstance(event, PlanText)]


def invoices(paid: Paid) -> Sprint:
    """An agent that pays what the check of its first stage told."""

    def script(prompt: str) -> str:
        if "</Execution_2>" in prompt:
            return answer("1")
        if "</Execution_1>" in prompt:
            told = prompt.partition("took ")[2].split()
            return plan(f"pay: invoice {told[0] if told else 'none'}", stage=2)
        return plan("pay: zero")

    return Sprint(ScriptedEngine(continuing(script)), executors=[paid])
