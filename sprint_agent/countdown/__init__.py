"""The Countdown task: puzzles, their splits, and the verifier."""

from sprint_agent.countdown.claim import claim, right_claim, solved
from sprint_agent.countdown.puzzle import Puzzle, PuzzleSpace, Split, generate, reachable, split
from sprint_agent.countdown.smaller import NONE, Smaller, SmallerPuzzle
from sprint_agent.countdown.verify import ExpressionError, evaluate, explain, verify

__all__ = [
    "NONE",
    "ExpressionError",
    "Puzzle",
    "PuzzleSpace",
    "Smaller",
    "SmallerPuzzle",
    "Split",
    "claim",
    "evaluate",
    "explain",
    "generate",
    "reachable",
    "right_claim",
    "solved",
    "split",
    "verify",
]
