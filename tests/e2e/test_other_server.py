"""The OpenAI engine on a server that has nothing in common with SGLang: llama.cpp's, in C++."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("openai")
pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

from sprint_agent import ContextTooLong, Sprint, StageEnded, executor
from sprint_agent.countdown import solver
from sprint_agent.engine import Request, Sampling
from sprint_agent.engines import OpenAIEngine
from sprint_agent.engines.openai.server import Mode
from sprint_agent.testing import check_engine
from tests.e2e.llama_cpp import CONTEXT, MODEL, llama_server

QUESTION = "<Question>\nUse 3, 5, 7 and 11 to make 24.\n</Question>\n<think>\n"
TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
"""The shipped model was not trained on chats. With this template it generates some text."""
pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with llama_server(solver.MODEL, TEMPLATE) as url:
        yield f"{url}/v1"


@pytest.mark.parametrize("mode", ["completions", "chat"])
async def test_conformance(url: str, mode: Mode) -> None:
    async with OpenAIEngine(url, model=MODEL, mode=mode) as engine:
        report = await check_engine(engine, [QUESTION], patience=300)
    assert report.ok, str(report)


async def test_a_plan_is_executed(url: str) -> None:
    """The model's own executions are not tested.

    In them, it was trained on other tokens than this server's tokenizer produces.
    """

    @executor
    async def model(prompt: str) -> str:
        return f"{prompt} is known"

    engine = OpenAIEngine(url, model=MODEL, mode="completions")
    agent = Sprint(engine, executors=[model], sampling=solver.SAMPLING)
    stage = None
    async with agent.stream("Use 3, 5, 7 and 11 to make 24.") as run:
        async for event in run:
            if isinstance(event, StageEnded):
                stage = event.stage
                break
    assert stage is not None
    assert [p.text for p in stage.prompts][:2] == ["a + b", "a - b"]
    assert all(e.text.endswith("is known") for e in stage.executions)


@pytest.mark.parametrize("mode", ["completions", "chat"])
async def test_a_prompt_that_is_too_long_is_refused(url: str, mode: Mode) -> None:
    async with OpenAIEngine(url, model=MODEL, mode=mode) as engine:
        assert engine.context_length == CONTEXT
        request = Request(QUESTION * 500, Sampling(max_tokens=8))
        with pytest.raises(ContextTooLong):
            async with engine.generate(request):
                pass
