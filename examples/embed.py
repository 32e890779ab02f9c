"""Embeds the library: solves a puzzle with the shipped model and prints the run's events.

    python examples/embed.py

Needs the extra `local`.
"""

from __future__ import annotations

import anyio

from sprint_agent import ExecutionEnded, Result, StageEnded
from sprint_agent.countdown import Puzzle, solver


async def main() -> Result:
    """Solves a puzzle and prints each event as it happens."""
    puzzle = Puzzle((3, 5, 7, 11), 24)
    async with (
        solver.agent() as agent,
        agent.stream(puzzle.question, join=solver.solved(puzzle)) as run,
    ):
        async for event in run:
            if isinstance(event, ExecutionEnded):
                execution = event.execution
                print(f"{event.at:5.2f} s  execution {execution.number}: {execution.status}")
            elif isinstance(event, StageEnded):
                print(f"{event.at:5.2f} s  stage {event.stage.number} ended")
        result = await run.result()
    print(result.answer, result.usage)
    return result


if __name__ == "__main__":
    anyio.run(main)
