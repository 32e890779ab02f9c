"""The ScriptedEngine keeps the promises of an engine, in ids and in text."""

from __future__ import annotations

import re
from pathlib import Path

import anyio.lowlevel
import pytest

from sprint_agent import Sprint
from sprint_agent.engine import Delta, Finish, Request, Sampling, Tokenizer
from sprint_agent.testing import CharTokenizer, Reply, ScriptedEngine, check_engine
from tests.script import answer, plan

pytestmark = pytest.mark.anyio
ALPHABET = "the quick brown fox jumps over the lazy dog; "


@pytest.mark.parametrize("tokenizer", [CharTokenizer(), None])
@pytest.mark.parametrize("chunk", [1, 5])
async def test_it_conforms(tokenizer: Tokenizer | None, chunk: int) -> None:
    engine = ScriptedEngine(
        lambda prompt: f"{prompt}: {ALPHABET * 40}",
        tokenizer=tokenizer,
        context_length=1000,
        chunk=chunk,
    )
    texts = ["alpha", "beta", "gamma"]
    prompts = [tuple(tokenizer.encode(t)) if tokenizer else t for t in texts]
    async with engine:
        report = await check_engine(engine, prompts)
    assert report.ok, str(report)
    assert len(report.passed) > 8


async def test_it_ends_at_the_stop_that_is_complete_first() -> None:
    """As in the engines (`engines.stops`), this need not be the stop that begins first."""
    engine = ScriptedEngine(lambda prompt: "xabcd")
    request = Request((1,), Sampling(max_tokens=9), ("abcd", "bc"))
    async with engine.generate(request) as stream:
        seen = [event async for event in stream]
    assert "".join(event.text for event in seen if isinstance(event, Delta)) == "xa"
    assert isinstance(seen[-1], Finish)
    assert seen[-1].stop == "bc"


async def test_a_script_may_be_async() -> None:
    async def script(prompt: str) -> str | Reply:
        await anyio.lowlevel.checkpoint()
        return Reply(answer("42"))

    assert (await Sprint(ScriptedEngine(script)).solve("What?")).answer == "42"


async def test_a_plan_that_is_written_again_after_a_resume_is_continued(tmp_path: Path) -> None:
    trace = tmp_path / "run.jsonl"

    def script(prompt: str) -> str | Reply:
        if re.search(r"<execution_[\d.]+>\n[^<]*\Z", prompt):
            return "did it\n</execution_"
        return answer("42") if "</Execution_1>" in prompt else plan("a", "b")

    engine = ScriptedEngine(script)
    await Sprint(engine).solve("What?", trace=trace)
    lines = trace.read_bytes().splitlines(keepends=True)
    for kept in range(3, len(lines)):
        trace.write_bytes(b"".join(lines[:kept]))
        result = await Sprint(ScriptedEngine(script)).resume(trace)
        assert result.answer == "42", kept
        assert [e.text for e in result.stages[0].executions] == ["did it\n"] * 2
