"""Several engines as one: where runs go, and what becomes of them when an engine fails."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest

from sprint_agent import EngineUnavailable, Sprint
from sprint_agent.engine import Finish, Request, RunTag, Sampling
from sprint_agent.engines import open_engine
from sprint_agent.engines.pool import EnginePool
from sprint_agent.testing import CharTokenizer, Reply, ScriptedEngine, check_engine
from tests.script import Scripted, answer, plan

pytestmark = pytest.mark.anyio


def request(run: str | None, text: str = "go") -> Request:
    prompt = tuple(CharTokenizer().encode(text))
    return Request(prompt, Sampling(max_tokens=99), run=RunTag(run, 0.0) if run else None)


class Named:
    """A script that notes who was asked."""

    def __init__(self, seen: Counter[str], name: str, said: Reply | str = "yes") -> None:
        self.seen, self.name, self.said = seen, name, said

    def __call__(self, prompt: str) -> Reply | str:
        self.seen[self.name] += 1
        return self.said


async def read(pool: EnginePool, asked: Request) -> Finish:
    async with pool.generate(asked) as stream:
        async for event in stream:
            if isinstance(event, Finish):
                return event
    raise AssertionError


async def test_it_conforms() -> None:
    engines = [ScriptedEngine(lambda _: "a b c " * 40) for _ in range(2)]
    async with EnginePool(engines) as pool:
        report = await check_engine(pool, [tuple(CharTokenizer().encode("use 3, 5"))])
    assert report.ok, report


async def test_all_calls_of_a_run_go_to_one_engine_and_runs_are_shared_out() -> None:
    seen: Counter[str] = Counter()
    engines = [ScriptedEngine(Named(seen, name, Reply("yes", hang=True))) for name in "ab"]
    async with EnginePool(engines) as pool, anyio.create_task_group() as group:

        async def hold(run: str) -> None:
            await read(pool, request(run))

        for run in ["one", "two", "one", "two", "one"]:
            group.start_soon(hold, run)
            await anyio.wait_all_tasks_blocked()
        assert sorted(seen.values()) == [2, 3]
        group.cancel_scope.cancel()


async def test_a_run_moves_on_when_its_engine_is_unavailable() -> None:
    seen: Counter[str] = Counter()
    down = Reply("", error=EngineUnavailable("down", transient=True))
    engines = [
        ScriptedEngine(Named(seen, "down", down)),
        ScriptedEngine(Named(seen, "up")),
    ]
    async with EnginePool(engines) as pool:
        with pytest.raises(EngineUnavailable):
            await read(pool, request("one"))
        await read(pool, request("one"))
        await read(pool, request("one"))
        await read(pool, request("another"))
    assert seen == {"down": 1, "up": 3}


async def test_a_question_is_answered_though_one_of_the_servers_fails() -> None:
    turns: list[str | Reply] = [plan("a", "b"), answer("42")]
    broken = ScriptedEngine(lambda _: Reply("", error=EngineUnavailable("down", transient=True)))
    agent = Sprint([broken, ScriptedEngine(Scripted(turns))])
    assert (await agent.solve("What?")).answer == "42"


async def test_what_cannot_be_a_pool() -> None:
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
