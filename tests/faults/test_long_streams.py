"""A run whose streams are long takes the same time for each token, wherever the tokens are."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("rich")

from sprint_agent import Sprint
from sprint_agent.cli.view import RunView
from sprint_agent.engine import Sampling
from sprint_agent.testing import ScriptedEngine
from tests.script import Scripted

pytestmark = pytest.mark.anyio

FEW, MANY = 2_000, 40_000


def scripted(place: str, tokens: int) -> Scripted:
    """A run with this many tokens of text in one place."""
    text = "a < b " * (tokens // 6)
    thought, plan, task, execution, answer = (
        text if place == name else "" for name in ("thought", "plan", "task", "execution", "answer")
    )
    turn = f"{thought}<Plan_1>\n{plan}<prompt_1.1> t {task}</prompt_1.1>\n</Plan_1>"
    final = f"<Final_answer>\n{answer}\\boxed{{1}}\n</Final_answer>"
    return Scripted([turn, final], {(1, 1): f"so {execution}\n</execution_"})


@pytest.mark.parametrize("place", ["thought", "plan", "task", "execution", "answer"])
async def test_the_time_of_a_token_does_not_grow(place: str) -> None:
    async def seconds(tokens: int) -> float:
        engine = ScriptedEngine(scripted(place, tokens))
        view = RunView()
        before = time.process_time()
        async with Sprint(engine, sampling=Sampling(max_tokens=10**6)).stream("q") as run:
            async for event in run:
                view.feed(event)
            result = await run.result()
        assert result.answer == "1"
        return (time.process_time() - before) / tokens

    await seconds(FEW)
    few = min([await seconds(FEW) for _ in range(3)])
    assert await seconds(MANY) < 3 * few
