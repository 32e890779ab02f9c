"""What an execution of the Countdown model says that it found, and whether that is right."""

from __future__ import annotations

import re

from sprint_agent.countdown.puzzle import Puzzle
from sprint_agent.countdown.verify import verify
from sprint_agent.join import FirstSuccess, first_success

_CLAIM = re.compile(r"\\boxed\{(.+)\}$", re.MULTILINE)


def claim(execution: str) -> str | None:
    """The expression in the `\\boxed{…}` of an execution; None where it found none."""
    found = _CLAIM.search(execution)
    return found.group(1).strip() if found else None


def right_claim(execution: str, puzzle: Puzzle) -> str | None:
    """The claim of an execution where it is right; None where it is not, or where there is none."""
    claimed = claim(execution)
    return claimed if claimed is not None and verify(claimed, puzzle) else None


def solved(puzzle: Puzzle) -> FirstSuccess:
    """The join policy that ends a stage when an execution claims an answer that is right.

    The planner is told the answer that was verified.
    """
    return first_success(lambda execution: right_claim(execution.text, puzzle) or False)
