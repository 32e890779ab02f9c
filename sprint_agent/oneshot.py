"""`solve` and `solve_sync`: one question, without an agent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

from sprint_agent.agent import Sprint, TracePath, run_sync
from sprint_agent.countdown import solver
from sprint_agent.countdown.claim import solved
from sprint_agent.countdown.puzzle import Puzzle
from sprint_agent.engine import Engine, Sampling
from sprint_agent.errors import QuestionError
from sprint_agent.join import Join
from sprint_agent.limits import Limits
from sprint_agent.result import Result
from sprint_agent.task import Executor


async def solve(
    question: str,
    *,
    engine: Engine | str | os.PathLike[str] | None = None,
    executors: Sequence[Executor] = (),
    limits: Limits | None = None,
    join: Join | None = None,
    sampling: Sampling | None = None,
    trace: TracePath | None = None,
) -> Result:
    """Solves one question. Opens the engine for it: for several questions, keep a `Sprint` open.

    Args:
        question: What is to be solved.
        engine: An engine as for `Sprint`. Without one, the model that ships with the library runs in
            this process. It solves Countdown puzzles, such as "Use 3, 5, 7 and 11 to make 24."
        executors: Who can work on prompts, besides the model. They need an engine.
        limits: The limits of the run.
        join: When a stage ends. By default when all executions are done, and for a puzzle of the
            shipped model at the first right answer.
        sampling: How tokens are drawn.
        trace: A file to which the run is written, for `Sprint.resume`.

    Raises:
        QuestionError: The question is empty, or no engine is given and it is not a Countdown puzzle.
        ValueError: Executors are given without an engine.
        EngineError, PlanError, TraceError: As `Sprint.solve`.
    """
    if engine is not None:
        agent = Sprint(
            engine,
            executors=executors,
            limits=limits or Limits(),
            join=join or "all",
            sampling=sampling or Sampling(),
        )
        return await agent.solve(question, trace=trace)
    if executors:
        raise ValueError(
            "executors need an engine: name one, such as engine='http://127.0.0.1:30000'"
        )
    puzzle = _puzzle(question)
    agent = solver.agent(sampling=sampling or solver.SAMPLING)
    join = join or solved(puzzle)
    return await agent.solve(puzzle.question, join=join, limits=limits, trace=trace)


def solve_sync(
    question: str,
    *,
    engine: Engine | str | os.PathLike[str] | None = None,
    executors: Sequence[Executor] = (),
    limits: Limits | None = None,
    join: Join | None = None,
    sampling: Sampling | None = None,
    trace: TracePath | None = None,
) -> Result:
    """Solves one question from code that is not async. The arguments are those of `solve`.

    Raises:
        RuntimeError: An event loop is running in this thread: await `solve` there.
        QuestionError, ValueError, EngineError, PlanError, TraceError: As `solve`.
    """
    call = partial(
        solve,
        question,
        engine=engine,
        executors=executors,
        limits=limits,
        join=join,
        sampling=sampling,
        trace=trace,
    )
    return run_sync(call)


def _puzzle(question: str) -> Puzzle:
    try:
        return Puzzle.parse(question)
    except QuestionError as error:
        raise QuestionError(
            f"{error}. Without an engine, the shipped model solves Countdown puzzles only: for other "
            "questions name one, such as engine='http://127.0.0.1:30000'"
        ) from error
