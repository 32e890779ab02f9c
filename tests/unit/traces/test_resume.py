"""What a resumed run takes from its trace, and which trace stands when it is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from sprint_agent import (
    Execution,
    ExecutionText,
    Limits,
    PlanText,
    Sprint,
    Task,
    Trace,
    TraceError,
    executor,
    first_success,
)
from sprint_agent.result import Prompt
from sprint_agent.testing import Reply, ScriptedEngine
from sprint_agent.traces.trace import Resumed
from tests.script import Continuing, Scripted, answer, plan

pytestmark = pytest.mark.anyio
Record = dict[str, Any]


def cut(path: Path, last: Callable[[Record], bool]) -> None:
    """Leaves of a trace what a kill leaves just behind the first record that is `last`."""
    lines = path.read_bytes().splitlines(keepends=True)
    end = next(k for k, line in enumerate(lines, 1) if last(json.loads(line)))
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
            engine = ScriptedEngine(script)
            return Sprint(engine, executors=[stubborn, paid], join=first_success(check))

        result = await agent(Paid()).solve("What?", trace=path)
        assert [e.status for e in result.stages[0].executions] == ["done", "done"]
        assert (accepted := result.stages[0].accepted)
        assert accepted.number == 2
        cut(path, execution_ended(2))
        again = Paid()
        async with agent(again).resume(path) as run:
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
        async with invoices(again).resume(path, join=join) as run:
            assert (await run.result()).text == result.text
        assert again.calls == []

    async def test_another_prompt_is_worked_on_anew(self, tmp_path: Path) -> None:
        """The agent is not quite like the one that began the run, and so its plan is another."""
        path = tmp_path / "run.jsonl"
        join = first_success(lambda e: "took 0 ms" if e.stage == 1 else False)
        await invoices(Paid()).solve("What?", join=join, trace=path)
        cut(path, stage_ended(2))
        again = Paid()
        async with invoices(again).resume(path, join="all") as run:
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
            found = Resumed(Trace.read(path)).execution(1, Prompt(1, "zero", given, 0))
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
        async with Sprint(engine).resume(path) as run:
            (stage,) = (await run.result()).stages
        assert [(e.status, e.text) for e in stage.executions] == [("done", "did 1.1\n")]

    async def test_a_stage_that_is_planned_anew_is_checked_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        await invoices(Paid()).solve("What?", join=first_success(lambda e: True), trace=path)
        resumed = Resumed(Trace.read(path))
        stage = resumed.stage(1)
        assert stage is not None
        assert stage.accepted
        assert stage.accepted.number == 1
        assert resumed.call(1, None, "another prompt's digest") is None
        assert resumed.stage(1) is None


class TestWhichTraceStands:
    """The new one, where it holds all that the old one did, or an answer; else the old one."""

    async def killed(self, path: Path) -> dict[str, bytes]:
        """What a run leaves that was killed behind its second stage."""
        await invoices(Paid()).solve("What?", trace=path)
        cut(path, stage_ended(2))
        return folder(path)

    async def whole(self, path: Path) -> None:
        """Goes on with the run, which must do nothing twice, to its end."""
        again = Paid()
        async with invoices(again).resume(path) as run:
            assert (await run.result()).answer == "1"
        assert again.calls == []
        assert Trace.read(path).result is not None

    async def test_one_that_is_left_at_once_changes_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        before = await self.killed(path)
        async with invoices(Paid()).resume(path):
            pass
        assert folder(path) == before
        await self.whole(path)

    @pytest.mark.parametrize("limits", [Limits(deadline=1e-6), Limits(executions=1)])
    async def test_one_that_a_limit_ends_too_soon_changes_nothing(
        self, tmp_path: Path, limits: Limits
    ) -> None:
        path = tmp_path / "run.jsonl"
        before = await self.killed(path)
        async with invoices(Paid()).resume(path, limits=limits) as run:
            assert (await run.result()).limit is not None
        assert folder(path) == before
        await self.whole(path)

    async def test_one_that_came_further_stands_however_it_ends(self, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        await self.killed(path)
        hanging = Sprint(ScriptedEngine(lambda prompt: Reply("So", hang=True)), executors=[Paid()])
        async with hanging.resume(path) as run:
            async for event in run:
                if isinstance(event, PlanText) and (event.stage, event.text) == (3, "o"):
                    break
        assert [r.text for r in texts(path) if r.stage == 3] == ["S", "o"]
        await self.whole(path)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
    async def test_one_that_cannot_be_written_replaces_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        before = await self.killed(path)
        path.with_name("run.jsonl.resumed").symlink_to("/dev/full")
        with pytest.raises(TraceError, match="not whole"):
            async with invoices(Paid()).resume(path) as run:
                await run.result()
        assert folder(path) == before


def folder(path: Path) -> dict[str, bytes]:
    """All that stands beside a trace, and the trace."""
    files = list(path.parent.iterdir())
    assert not any(file.is_symlink() for file in files)
    return {file.name: file.read_bytes() for file in files}


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

    return Sprint(ScriptedEngine(script), executors=[paid])
