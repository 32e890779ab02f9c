"""Countdown by the model that ships with the library, in this process: no server, no network."""

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
"""In this process, each further execution at a time makes every step dearer: with five numbers, where
nested runs open twelve each, two dozen answer soonest. When two stages have tried all openings, there is
nothing left to plan."""
SAMPLING = Sampling(max_tokens=512, temperature=0.0)
"""Greedy. No plan or execution that the shipped model learned from has as many tokens."""


def agent(
    engine: Engine | str | os.PathLike[str] = MODEL,
    *,
    limits: Limits = LIMITS,
    dispatch: Dispatch = "tag",
    sampling: Sampling = SAMPLING,
) -> Sprint:
    """An agent for Countdown questions, greedy; the shipped model drives it by default."""
    executors = (SmallerPuzzle(),)
    return Sprint(engine, executors=executors, limits=limits, dispatch=dispatch, sampling=sampling)


async def solve(question: str) -> Result:
    """Solves a Countdown question such as `Use 3, 5, 7 and 11 to make 24.` with the shipped model.

    The model is loaded for this call; keep an `agent()` open for more than one. Raises QuestionError
    for any other question.
    """
    puzzle = Puzzle.parse(question)
    return await agent().solve(puzzle.question, join=solved(puzzle))
