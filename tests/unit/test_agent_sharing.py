"""An agent's arguments, and what its runs share: one event loop, and a bound on requests."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest

from sprint_agent import EngineUnavailable, Sprint
from sprint_agent.engine import Delta, Finish, Request
from sprint_agent.testing import Reply, ScriptedEngine
from tests.script import Scripted, answer, execution_of, plan

pytestmark = pytest.mark.anyio


class TestArguments:
    """A mistake in an argument is an error at once, and not ignored."""

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"join": "first"}, ValueError, r"join must be 'all' or first_success\(check\)"),
            ({"join": bool}, TypeError, r"join must be 'all' or first_success\(check\)"),
            (
                {"limits": {"tokens": 5}},
                TypeError,
                r"limits must be Limits\(…\), not {'tokens': 5}",
            ),
        ],
    )
    async def test_of_a_call_and_of_an_agent(
        self, arguments: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            Sprint(ScriptedEngine(Scripted([])), **arguments)
        with pytest.raises(error, match=message):
            await Sprint(ScriptedEngine(Scripted([]))).solve("What?", **arguments)

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"dispatch": "x"}, ValueError),
            ({"sampling": {"temperature": 0}}, TypeError),
            ({"prices": 3}, TypeError),
            ({"max_requests": 0}, ValueError),
        ],
    )
    def test_of_an_agent(self, arguments: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error, match=next(iter(arguments))):
            Sprint(ScriptedEngine(Scripted([])), **arguments)


class TestThreads:
    def test_an_agent_that_is_open_in_another_thread_is_refused_at_once(self) -> None:
        opened, done = threading.Event(), threading.Event()
        agent = Sprint(ScriptedEngine(lambda prompt: answer("42")))

        async def hold() -> None:
            async with agent:
                opened.set()
                await anyio.to_thread.run_sync(done.wait)

        thread = threading.Thread(target=anyio.run, args=(hold,))
        thread.start()
        opened.wait(10)
        try:
            with pytest.raises(RuntimeError, match="the agent is open in another event loop"):
                anyio.run(agent.solve, "What?")
        finally:
            done.set()
            thread.join(10)
        # Closed there, it can be opened here.
        assert anyio.run(agent.solve, "What?").answer == "42"

    def test_threads_with_an_agent_each_do_not_disturb_one_another(self) -> None:
        answers: list[str | None] = []

        def work() -> None:
            agent = Sprint(ScriptedEngine(lambda prompt: answer("42")))
            answers.append(anyio.run(agent.solve, "What?").answer)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert answers == ["42"] * 4

    async def test_an_engine_that_cannot_be_opened_leaves_the_agent_closed(self) -> None:
        class Broken(ScriptedEngine):
            async def __aenter__(self) -> Any:
                raise EngineUnavailable("not today")

        agent = Sprint(Broken(Scripted([])))
        for _ in range(2):
            with pytest.raises(EngineUnavailable):
                await agent.solve("What?")
        assert repr(agent).startswith("<Sprint closed")


class TestRequests:
    """`max_requests` bounds what is open at an engine, over all runs."""

    class Counting(ScriptedEngine):
        most = 0

        @asynccontextmanager
        async def generate(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta | Finish]]:
            async with super().generate(request) as stream:
                self.most = max(self.most, self.in_flight)
                yield stream

    def scripted(self) -> ScriptedEngine:
        prompts = plan(*"abcdefgh")
        return self.Counting(
            lambda prompt: (
                "did it\n</execution_"
                if execution_of(prompt)
                else (answer("42") if "</Execution_1>" in prompt else prompts)
            )
        )

    @pytest.mark.parametrize("bound", [1, 5, None])
    async def test_over_all_runs_planners_included(self, bound: int | None) -> None:
        engine = self.scripted()
        agent = Sprint(engine, max_requests=bound)
        async with agent, anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(agent.solve, "What?")
        assert isinstance(engine, self.Counting)
        if bound is None:
            assert engine.most >= 20
        else:
            assert engine.most == bound
        assert len(engine.requests) == 20 * 10

    async def test_planners_and_executors_have_their_own_bound_on_two_engines(self) -> None:
        planner, executors = self.scripted(), self.scripted()
        agent = Sprint(planner, executor_engine=executors, max_requests=1)
        assert (await agent.solve("What?")).answer == "42"
        assert (len(planner.requests), len(executors.requests)) == (2, 8)

    async def test_a_run_that_is_cancelled_while_it_waits_leaves_the_bound_as_it_was(self) -> None:
        hangs = Reply("on", hang=True)
        engine = ScriptedEngine(lambda prompt: hangs if "hang" in prompt else answer("42"))
        async with Sprint(engine, max_requests=1) as agent:
            async with anyio.create_task_group() as group:
                group.start_soon(agent.solve, "hang")
                group.start_soon(agent.solve, "hang too")
                await anyio.wait_all_tasks_blocked()
                assert len(engine.requests) == 1
                group.cancel_scope.cancel()
            assert (await agent.solve("What?")).answer == "42"
