"""examples/web_service.py under a real ASGI server, with clients that disconnect at random."""

from __future__ import annotations

import asyncio
import json
import random
import runpy
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import uvicorn

from sprint_agent import Sprint
from sprint_agent.engines.sglang.engine import SGLangEngine
from sprint_agent.testing import CharTokenizer, FaultServer, Reply, ScriptedEngine
from tests.script import answer, execution_of, plan

pytestmark = pytest.mark.anyio
SERVICE = Path(__file__).parents[2] / "examples" / "web_service.py"
CLIENTS = 100


def script(prompt: str) -> Reply:
    """Returns slow executions, and an answer after them."""
    if execution_of(prompt) is not None:
        return Reply("seen\n" * 10 + "</execution_", delay=0.01)
    return Reply(answer("42") if "</Execution_1>" in prompt else plan("a", "b", "c"), delay=0.002)


@asynccontextmanager
async def served(agent: Sprint) -> AsyncGenerator[str]:
    """Serves the example's application and yields its address."""
    application = runpy.run_path(str(SERVICE))["application"](agent)
    config = uvicorn.Config(application, port=0, log_level="error", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as group:
        group.start_soon(server._serve)
        while not server.started:  # noqa: ASYNC110
            await anyio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/solve"
        server.should_exit = True


async def ask(client: httpx2.AsyncClient, url: str, lines: int | None) -> list[Any]:
    """Asks a question and reads the events. With `lines`, disconnects after so many."""
    received: list[Any] = []
    async with client.stream("POST", url, json={"question": "What?"}) as response:
        assert response.status_code == 200
        if lines == 0:
            return received
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                received.append(json.loads(line.removeprefix("data: ")))
                if len(received) == lines:
                    return received
    return received


def runs() -> int:
    """Returns how many tasks belong to runs, in the whole process."""
    names = [str(task.get_coro()) for task in asyncio.all_tasks()]
    return sum("BackgroundTask" in name or "PlannerTurn" in name for name in names)


async def test_it_answers() -> None:
    async with (
        served(Sprint(ScriptedEngine(script))) as url,
        httpx2.AsyncClient(trust_env=False) as client,
    ):
        *_, result = await ask(client, url, None)
        assert result["answer"] == "42"
        assert (await client.post(url, content=b"what?")).status_code == 400


@pytest.mark.parametrize("over_http", [False, True])
async def test_clients_that_disconnect_leave_nothing(over_http: bool) -> None:
    chance = random.Random(1)
    done: list[bool] = []
    async with FaultServer(script) as faults:
        # In process, and on a server that counts what runs there.
        scripted = ScriptedEngine(script)
        remote = SGLangEngine(faults.url, tokenizer=CharTokenizer())
        engine = remote if over_http else scripted
        limits = httpx2.Limits(max_connections=CLIENTS)
        async with (
            served(Sprint(engine)) as url,
            httpx2.AsyncClient(trust_env=False, limits=limits, timeout=60) as client,
        ):

            async def one(number: int) -> None:
                await anyio.sleep(chance.random() * 0.2)
                leaves = number % 2 == 0
                received = await ask(client, url, chance.randrange(4) if leaves else None)
                if not leaves:
                    assert received[-1]["answer"] == "42"
                    done.append(True)

            async with anyio.create_task_group() as group:
                for number in range(CLIENTS):
                    group.start_soon(one, number)
            await anyio.sleep(0.5)
            assert engine.in_flight == 0
            assert not over_http or faults.in_flight == 0
            assert runs() == 0
    assert len(done) == CLIENTS // 2
