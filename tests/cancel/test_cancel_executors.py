"""Executors that are cancelled at any step leave no task, request, process or folder."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import Process

from sprint_agent import (
    Executor,
    Limits,
    NestedExecutor,
    Policy,
    PythonExecutor,
    Sprint,
    Task,
    executor,
    with_policy,
)
from sprint_agent.executors import Generation, ModelExecutor, policy
from sprint_agent.testing import ScriptedEngine, cancel_everywhere
from tests.script import a_task, answer, execution_of, plan

pytestmark = pytest.mark.anyio


def script(context: str) -> str:
    if execution_of(context):
        return "did\n</execution_"
    if "<Execution_1>" in context:
        return answer("3")
    return plan("one", "two") if context.startswith("<Question>\npart") else plan(*TASKS)


TASKS = ("tool: part", "tool: part", "three")


@executor
async def fails(task: Task) -> str:
    await task.generate()
    raise OSError("always")


@executor
def threaded(prompt: str) -> str:
    return prompt


def nested() -> Sequence[Executor]:
    return [NestedExecutor("tool")]


def shared() -> Sequence[Executor]:
    return [with_policy(ModelExecutor("tool"), Policy(pure=True, concurrency=1))]


def retried() -> Sequence[Executor]:
    again = Policy(timeout=60, retries=1, concurrency=1, fallback=ModelExecutor())
    return [with_policy(Renamed(fails), again)]


def in_a_thread() -> Sequence[Executor]:
    return [Renamed(threaded)]


class Renamed:
    """An executor under the name that the plan uses."""

    name = "tool"
    description = ""
    schema = None

    def __init__(self, inner: Executor) -> None:
        self._inner = inner

    async def execute(self, task: Task) -> str | Generation:
        return await self._inner.execute(task)


@pytest.mark.parametrize("limits", [Limits(), Limits(concurrency=1, deadline=60, tokens=10_000)])
@pytest.mark.parametrize("executors", [nested, shared, retried, in_a_thread])
async def test_cancelling_at_every_point_leaves_nothing(
    executors: Callable[[], Sequence[Executor]], limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "FIRST_PAUSE", 0.0)
    made = executors()
    engines: list[ScriptedEngine] = []

    async def run() -> None:
        engines.append(ScriptedEngine(script))
        await Sprint(engines[-1], executors=made, limits=limits).solve("What?")

    report = await cancel_everywhere(run, leaked={"requests": lambda: engines[-1].in_flight})
    assert report.ok, str(report)
    assert report.points > 50
    # Slots and pending results are intact: the same executors still work.
    with anyio.fail_after(20):
        result = await Sprint(ScriptedEngine(script), executors=made).solve("What?")
    assert [e.status for e in result.stages[0].executions] == ["done"] * 3


async def cancelled_at(step: int, run: Callable[[], Awaitable[object]]) -> bool:
    """Cancels `run` after `step` steps of the event loop. Returns whether it was still running."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                for _ in range(step):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()

            group.start_soon(cancel)
            await run()
            group.cancel_scope.cancel()
    return scope.cancelled_caught


@pytest.mark.skipif(os.name != "posix", reason="the executor is for POSIX")
@pytest.mark.parametrize("step", [*range(12), 30, 100, 1000])
async def test_a_program_that_is_cancelled_leaves_no_process_and_no_folder(
    step: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    processes: list[Process] = []
    open_process = anyio.open_process

    async def opened(*command: object, **more: object) -> Process:
        processes.append(await open_process(*command, **more))  # type: ignore
        return processes[-1]

    monkeypatch.setattr(anyio, "open_process", opened)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = a_task("import time\ntime.sleep(3600)")
    before = asyncio.all_tasks()
    with anyio.fail_after(20):
        made = PythonExecutor(seconds=3600)
        assert await cancelled_at(step, lambda: made.execute(program))
    # Either the keeper was told to end, or it had not begun to listen.
    assert [process.returncode in (0, -signal.SIGTERM) for process in processes] == [True]
    assert not os.listdir(tmp_path)
    assert asyncio.all_tasks() == before
