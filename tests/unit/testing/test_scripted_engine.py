"""The ScriptedEngine keeps the promises of an engine, in ids and in text."""

from __future__ import annotations

import pytest

from sprint_agent.engine import Delta, Finish, Request, Sampling, Tokenizer
from sprint_agent.testing import CharTokenizer, ScriptedEngine, check_engine

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
