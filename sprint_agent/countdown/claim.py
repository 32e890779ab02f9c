"""Reads the answer that an execution of the Countdown model claims, and checks it."""

from __future__ import annotations

from sprint_agent.countdown.puzzle import Puzzle
from sprint_agent.countdown.verify import verify
from sprint_agent.join import FirstSuccess, first_success

_BOX = "\\boxed{"


def claim(execution: str) -> str | None:
    """Returns the expression in the first `\\boxed{…}` that ends a line, or None if there is none.

    The time is linear in the length of the execution.
    """
    for line in execution.split("\n"):
        _, box, content = line.partition(_BOX)
        if box and content.endswith("}") and content != "}":
            return content[:-1].strip()
    return None


def right_claim(execution: str, puzzle: Puzzle) -> str | None:
    """Returns the claim of an execution if it is right, or None if it is wrong or missing."""
    claimed = claim(execution)
    return claimed if claimed is not None and verify(claimed, puzzle) else None


def solved(puzzle: Puzzle) -> FirstSuccess:
    """Returns the join policy that ends a stage once an execution claims a right answer.

    The planner is told the verified answer.
    """
    return first_success(lambda execution: right_claim(execution.text, puzzle) or False)
