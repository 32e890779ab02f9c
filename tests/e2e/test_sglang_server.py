"""The engines on a real SGLang server, with the shipped model.

Set SPRINT_SGLANG_PYTHON to the interpreter of an environment with SGLang. `.ci/sglang DIR` creates one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

pytest.importorskip("httpx2")

from benchmarks.sglang_server import sglang_router, sglang_server
from sprint_agent import Sprint
from sprint_agent.countdown import Puzzle, solver, verify
from sprint_agent.engine import Engine, Request, RunTag, Sampling
from sprint_agent.engines import OpenAIEngine, SGLangEngine
from sprint_agent.engines.openai.server import Mode
from sprint_agent.testing import check_engine
from sprint_agent.testing.conformance import CHECKS
from tests.readme import command, run

SGLANG = os.environ.get("SPRINT_SGLANG_PYTHON", "")
QUESTION = "<Question>\nUse 3, 5, 7 and 11 to make 24.\n</Question>\n<think>\n"
SEEDLESS = [check for check in CHECKS if check.__name__ != "same_seed_the_same"]
"""Without its deterministic mode, which does not exist on a CPU, this server ignores seeds."""
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(not SGLANG, reason="SPRINT_SGLANG_PYTHON names no Python with SGLang"),
]


TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
"""The shipped model was not trained on chats. With this template it generates some text."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    template = tmp_path_factory.mktemp("chat") / "template.jinja"
    template.write_text(TEMPLATE)
    # The flags that the README shows, and two more.
    shown = command("README.md", "sglang.launch_server")
    flags = shown[shown.index("--port") + 2 :]
    flags += ["--enable-priority-scheduling", "--chat-template", str(template)]
    with sglang_server(Path(SGLANG), solver.MODEL, flags) as url:
        yield url


async def test_the_native_engine_conforms(url: str) -> None:
    async with SGLangEngine(url) as engine:
        prompts = [tuple(engine.tokenizer.encode(QUESTION))]
        report = await check_engine(engine, prompts, checks=SEEDLESS)
    assert report.ok, str(report)


@pytest.mark.parametrize("mode", ["completions", "chat"])
async def test_the_openai_engine_conforms(url: str, mode: Mode) -> None:
    engine = OpenAIEngine(f"{url}/v1", model=str(solver.MODEL), mode=mode)
    async with engine as entered:
        report = await check_engine(entered, [QUESTION], checks=SEEDLESS)
    assert report.ok, str(report)


@pytest.mark.parametrize("ids", [True, False])
async def test_a_puzzle_is_solved(url: str, ids: bool) -> None:
    puzzle = Puzzle((3, 5, 7, 11), 24)
    engine: Engine = SGLangEngine(url)
    if not ids:
        engine = OpenAIEngine(f"{url}/v1", model=str(solver.MODEL), mode="completions")
    result = await solver.agent(engine).solve(puzzle.question, join=solver.solved(puzzle))
    assert verify(result.answer or "", puzzle)
    assert result.stages[0].accepted is not None
    if ids:
        assert result.usage.cached_tokens > 0


def test_the_command_that_the_readme_shows(url: str) -> None:
    words = command("README.md", "--engine http://127.0.0.1:30000")
    done = run([word.replace("http://127.0.0.1:30000", url) for word in words])
    assert done.returncode == 0, done.stderr
    assert "right" in done.stdout


async def test_several_runs_on_a_pool(url: str) -> None:
    """Two engines on one server. Another test checks, without a server, that each run stays on one."""
    agent = Sprint([url, url], sampling=solver.SAMPLING)
    puzzle = Puzzle((3, 5, 7, 11), 24)
    async with agent, anyio.create_task_group() as group:

        async def one() -> None:
            result = await agent.solve(puzzle.question, join=solver.solved(puzzle))
            assert verify(result.answer or "", puzzle)

        for _ in range(3):
            group.start_soon(one)


async def test_the_server_takes_a_priority(url: str) -> None:
    """The order of the requests is not tested. A server without priorities would get none."""
    async with SGLangEngine(url) as engine:
        prompt = tuple(engine.tokenizer.encode(QUESTION))
        request = Request(prompt, Sampling(max_tokens=4), run=RunTag("a", 1_700_000_000.5))
        async with engine.generate(request) as stream:
            events = [event async for event in stream]
    assert events


async def test_sglangs_router(url: str) -> None:
    """The router hides the server's settings and has no aborts. Closing the stream must be enough."""
    puzzle = Puzzle((3, 5, 7, 11), 24)
    with sglang_router(Path(SGLANG), [url]) as router:
        async with SGLangEngine(router, tokenizer=solver.MODEL) as engine:
            prompts = [tuple(engine.tokenizer.encode(QUESTION))]
            report = await check_engine(engine, prompts, checks=SEEDLESS)
        agent = solver.agent(SGLangEngine(router, tokenizer=solver.MODEL))
        result = await agent.solve(puzzle.question, join=solver.solved(puzzle))
    assert report.ok, str(report)
    assert verify(result.answer or "", puzzle)
    assert result.usage.cached_tokens > 0
