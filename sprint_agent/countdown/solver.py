"""Solves Countdown with the model that ships with the library, in this process and offline."""

from __future__ import annotations

import os
from pathlib import Path

from sprint_agent.agent import Sprint
from sprint_agent.countdown.claim import solved
from sprint_agent.countdown.puzzle import Puzzle
from sprint_agent.countdown.smaller import SmallerPuzzle
from sprint_agent.engine import Engine, Sampling
from sprint_agent.limits import Limits
from sprint_agent.result import Result
from sprint_agent.runtime.scope import Dispatch

MODEL = Path(__file__).parent / "model"
LIMITS = Limits(concurrency=24, stages=3)
"""Limits for the model in this process.

There, each further parallel execution makes every step slower. With five numbers, where each nested
run has twelve openings, 24 parallel executions answer soonest. After two stages all openings were
tried, and nothing remains to be planned.
"""
SAMPLING = Sampling(max_tokens=512, temperature=0.0)
"""Greedy sampling. All plans and executions that the shipped model learned from are shorter."""


def agent(
    engine: Engine | str | os.PathLike[str] = MODEL,
    *,
    limits: Limits = LIMITS,
    dispatch: Dispatch = "tag",
    sampling: Sampling = SAMPLING,
) -> Sprint:
    """Returns an agent for Countdown questions, by default with the shipped model."""
    executors = (SmallerPuzzle(),)
    return Sprint(engine, executors=executors, limits=limits, dispatch=dispatch, sampling=sampling)


async def solve(question: str) -> Result:
    """Solves a Countdown question such as `Use 3, 5, 7 and 11 to make 24.` with the shipped model.

    The model is loaded for each call. To solve several questions, keep an `agent()` open.

    Raises:
        QuestionError: the question is not a Countdown question.
    """
    puzzle = Puzzle.parse(question)
    return await agent().solve(puzzle.question, join=solved(puzzle))
