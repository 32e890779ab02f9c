"""A pool of engines: how runs are distributed, and what happens when an engine fails."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest

from sprint_agent import EngineUnavailable, Sprint
from sprint_agent.engine import Finish, Request, RunTag, Sampling
from sprint_agent.engines import EnginePool, open_engine
from sprint_agent.testing import CharTokenizer, Reply, ScriptedEngine, check_engine
from tests.script import Scripted, answer, plan

pytestmark = pytest.mark.anyio


def request(run: str | None, text: str = "go") -> Request:
    prompt = tuple(CharTokenizer().encode(text))
    return Request(prompt, Sampling(max_tokens=99), run=RunTag(run, 0.0) if run else None)


class CountingScript:
    """A script that counts its calls under a name."""

    def __init__(self, calls: Counter[str], name: str, reply: Reply | str = "yes") -> None:
        self.calls, self.name, self.reply = calls, name, reply

    def __call__(self, prompt: str) -> Reply | str:
        self.calls[self.name] += 1
        return self.reply


async def read(pool: EnginePool, request: Request) -> Finish:
    async with pool.generate(request) as stream:
        async for event in stream:
            if isinstance(event, Finish):
                return event
    raise AssertionError


async def test_conformance() -> None:
    engines = [ScriptedEngine(lambda _: "a b c " * 40) for _ in range(2)]
    async with EnginePool(engines) as pool:
        report = await check_engine(pool, [tuple(CharTokenizer().encode("use 3, 5"))])
    assert report.ok, report


async def test_all_calls_of_a_run_go_to_one_engine_and_runs_are_distributed() -> None:
    calls: Counter[str] = Counter()
    engines = [
        ScriptedEngine(CountingScript(calls, name, Reply("yes", hang=True))) for name in "ab"
    ]
    async with EnginePool(engines) as pool, anyio.create_task_group() as group:

        async def hold(run: str) -> None:
            await read(pool, request(run))

        for run in ["one", "two", "one", "two", "one"]:
            group.start_soon(hold, run)
            await anyio.wait_all_tasks_blocked()
        assert sorted(calls.values()) == [2, 3]
        group.cancel_scope.cancel()


async def test_a_run_moves_to_another_engine_when_its_own_is_unavailable() -> None:
    calls: Counter[str] = Counter()
    down = Reply("", error=EngineUnavailable("down", transient=True))
    engines = [
        ScriptedEngine(CountingScript(calls, "down", down)),
        ScriptedEngine(CountingScript(calls, "up")),
    ]
    async with EnginePool(engines) as pool:
        with pytest.raises(EngineUnavailable):
            await read(pool, request("one"))
        await read(pool, request("one"))
        await read(pool, request("one"))
        await read(pool, request("another"))
    assert calls == {"down": 1, "up": 3}


async def test_a_question_is_answered_although_one_server_fails() -> None:
    turns: list[str | Reply] = [plan("a", "b"), answer("42")]
    broken = ScriptedEngine(lambda _: Reply("", error=EngineUnavailable("down", transient=True)))
    agent = Sprint([broken, ScriptedEngine(Scripted(turns))])
    assert (await agent.solve("What?")).answer == "42"


async def test_invalid_pools() -> None:
    with pytest.raises(ValueError, match="at least one"):
        open_engine([])

    class Small(CharTokenizer):
        vocab_size = 1000

    differ = EnginePool(
        [ScriptedEngine(lambda _: ""), ScriptedEngine(lambda _: "", tokenizer=Small())]
    )
    with pytest.raises(EngineUnavailable, match="same model"):
        async with differ:
            pass
    pool = EnginePool([ScriptedEngine(lambda _: "")])
    with pytest.raises(EngineUnavailable, match="not entered"):
        await read(pool, request(None))
