"""The Countdown task: puzzles, their splits, and the verifier."""

from sprint_agent.countdown.claim import claim
from sprint_agent.countdown.puzzle import Puzzle, PuzzleSpace, Split, generate, reachable, split
from sprint_agent.countdown.verify import ExpressionError, evaluate, explain, verify

__all__ = [
    "ExpressionError",
    "Puzzle",
    "PuzzleSpace",
    "Split",
    "claim",
    "evaluate",
    "explain",
    "generate",
    "reachable",
    "split",
    "verify",
]
