"""Sprint: it enters its engine once, touches files when a run begins, and loses no result."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Self

import anyio
import anyio.lowlevel
import pytest

from sprint_agent import Sprint
from sprint_agent.testing import ScriptedEngine
from tests.script import answer

pytestmark = pytest.mark.anyio
no_trio = pytest.mark.skipif(find_spec("trio") is None, reason="trio is not installed")


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


@pytest.mark.parametrize("anyio_backend", ["asyncio", pytest.param("trio", marks=no_trio)])
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
