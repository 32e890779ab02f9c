"""Sprint: it enters its engine once, touches files when a run begins, and loses no result."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import anyio
import anyio.lowlevel
import pytest

from sprint_agent import EngineUnavailable, Limits, Sprint, Trace, TraceError
from sprint_agent.runtime.router import ModelExecutor
from sprint_agent.testing import CharTokenizer, ScriptedEngine
from tests.script import Scripted, answer, plan

pytestmark = pytest.mark.anyio


class Door(ScriptedEngine):
    """An engine that can be entered once at a time; leaving it takes until `left` is set."""

    def __init__(self) -> None:
        super().__init__(lambda prompt: answer("1"))
        self.open = False
        self.left = anyio.Event()

    async def __aenter__(self) -> Self:
        assert not self.open, "entered already"
        self.open = True
        await anyio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.left.wait()
        self.open = False


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_an_engine_is_entered_once_by_those_who_come_while_others_go() -> None:
    engine = Door()
    agent = Sprint(engine)

    async def enter() -> None:
        async with agent:
            assert engine.open

    async with anyio.create_task_group() as group:
        # The first leaves, slowly; of the two that wait meanwhile, one leaves as the other comes.
        for _ in range(3):
            group.start_soon(enter)
            await anyio.wait_all_tasks_blocked()
        engine.left.set()
    assert not engine.open


class Down(ScriptedEngine):
    """An engine that cannot be entered."""

    def __init__(self) -> None:
        super().__init__(lambda prompt: answer("1"))

    async def __aenter__(self) -> Self:
        raise EngineUnavailable("it is down: start it")


@contextmanager
def nothing_left_open() -> Iterator[None]:
    """Files and streams that are not closed are told of when they are collected."""
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


class TestWhenARunBegins:
    """Nothing is opened or written before."""

    async def test_with_an_engine_that_is_down_an_earlier_trace_stands(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "run.jsonl"
        path.write_text("earlier")
        with nothing_left_open(), pytest.raises(EngineUnavailable):
            async with Sprint(Down()).stream("What?", trace=path):
                pass
        assert path.read_text() == "earlier"

    async def test_a_run_that_is_not_entered_opens_nothing(self, tmp_path: Path) -> None:
        path, other = tmp_path / "run.jsonl", tmp_path / "other.jsonl"
        killed(path)
        agent = Sprint(ScriptedEngine(lambda prompt: answer("1")))
        with nothing_left_open():
            agent.stream("What?", trace=other)
            agent.stream_resume(path)
        assert names(tmp_path) == ["run.jsonl"]

    async def test_with_an_engine_that_is_down_a_run_can_be_resumed_later(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "run.jsonl"
        killed(path)
        with nothing_left_open(), pytest.raises(EngineUnavailable):
            async with Sprint(Down()).stream_resume(path):
                pass
        assert names(tmp_path) == ["run.jsonl"]
        assert Trace.read(path).question == "What?"

    async def test_a_trace_that_cannot_be_written_is_an_error_of_the_run(
        self, tmp_path: Path
    ) -> None:
        agent = Sprint(ScriptedEngine(lambda prompt: answer("1")))
        async with agent.stream("What?", trace=tmp_path / "no" / "folder") as run:
            with pytest.raises(TraceError, match="cannot write"):
                await run.result()


class TestTheResult:
    async def test_it_is_asked_for_inside_of_the_block(self) -> None:
        async with Sprint(ScriptedEngine(lambda prompt: answer("1"))).stream("What?") as run:
            pass
        with pytest.raises(RuntimeError, match="inside `async with"):
            await run.result()
        async with Sprint(ScriptedEngine(lambda prompt: answer("1"))).stream("What?") as run:
            await run.result()
        assert (await run.result()).answer == "1"

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
    async def test_a_trace_that_is_not_whole_loses_none(self) -> None:
        agent = Sprint(ScriptedEngine(lambda prompt: answer("1")))
        with pytest.raises(TraceError, match="is incomplete: No space left") as raised:
            await agent.solve("What?", trace="/dev/full")
        assert raised.value.result is not None
        assert raised.value.result.answer == "1"
        async with agent.stream("What?", trace="/dev/full") as run:
            with pytest.raises(TraceError) as raised:
                await run.result()
            assert raised.value.result == await run.result()


def test_of_two_executors_with_one_name_none_is_lost() -> None:
    engine = ScriptedEngine(lambda prompt: answer("1"))
    Sprint(engine, executors=[ModelExecutor()])
    with pytest.raises(ValueError, match="two executors are named 'model'"):
        Sprint(engine, executors=[ModelExecutor(), ModelExecutor()])


def killed(path: Path) -> None:
    """What a run leaves that was killed as it began."""
    path.write_text('{"trace": 2}\n{"event": "RunStarted", "at": 0.0, "question": "What?"}\n')


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestTwoEngines:
    """With `executor_engine`, one engine plans and another one executes."""

    async def test_each_gets_its_own_requests(self) -> None:
        planner = ScriptedEngine(Scripted([plan("one", "two"), answer("5")]))
        worker = ScriptedEngine(lambda prompt: "worked\n")
        async with Sprint(planner, executor_engine=worker) as agent:
            result = await agent.solve("What?")
        assert [e.text for e in result.stages[0].executions] == ["worked\n"] * 2
        assert len(planner.requests) == 2
        assert len(worker.requests) == 2

    async def test_another_tokenizer_gets_the_same_text(self) -> None:
        planner = ScriptedEngine(Scripted([plan("one"), answer("5")]))
        worker = ScriptedEngine(lambda prompt: "worked\n", tokenizer=CharTokenizer())
        assert worker.tokenizer is not planner.tokenizer
        result = await Sprint(planner, executor_engine=worker).solve("What?")
        (execution,) = result.stages[0].executions
        # Ids of the executors' tokenizer do not get into the planner's context.
        assert execution.ids is None
        prompt = worker.requests[0].prompt
        assert worker.tokenizer is not None
        assert not isinstance(prompt, str)
        assert worker.tokenizer.decode(prompt).endswith("</prompt_1.1>\n<execution_1.1>\n")

    async def test_one_that_cannot_be_opened_closes_the_other(self) -> None:
        planner = Door()

        class Shut(ScriptedEngine):
            async def __aenter__(self) -> Self:
                raise EngineUnavailable("shut")

        planner.left.set()
        agent = Sprint(planner, executor_engine=Shut(lambda prompt: ""))
        with pytest.raises(EngineUnavailable, match="shut"):
            await agent.solve("What?")
        assert not planner.open


class TestTheLimitsOfACall:
    async def test_the_tighter_one_counts(self) -> None:
        """A call cannot lose the limits of its agent."""
        agent = Sprint(ScriptedEngine(lambda prompt: answer("5")), limits=Limits(tokens=3))
        assert (await agent.solve("What?", limits=Limits(deadline=60))).limit == "tokens"
        assert (await agent.solve("What?", limits=Limits(tokens=1000))).limit == "tokens"


class TestSync:
    def test_without_an_event_loop(self) -> None:
        agent = Sprint(ScriptedEngine(lambda prompt: answer("5")))
        assert agent.solve_sync("What?").answer == "5"
        assert agent.solve_sync("What?").answer == "5"

    async def test_not_while_the_agent_is_open(self) -> None:
        async with Sprint(ScriptedEngine(lambda prompt: answer("5"))) as agent:
            with pytest.raises(RuntimeError, match="open in an event loop"):
                agent.solve_sync("What?")


async def test_the_repr_shows_the_state() -> None:
    agent = Sprint(ScriptedEngine(lambda prompt: answer("5")), limits=Limits(deadline=9))
    assert repr(agent).startswith("<Sprint closed: engine=")
    assert "deadline=9" in repr(agent)
    async with agent:
        assert repr(agent).startswith("<Sprint open for 1: ")
