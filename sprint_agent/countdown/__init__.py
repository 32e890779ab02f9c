"""The Countdown task: puzzles, their splits, a verifier, and an executor for smaller puzzles."""

from sprint_agent.countdown.claim import claim, right_claim, solved
from sprint_agent.countdown.puzzle import Puzzle, PuzzleSpace, Split, generate, reachable, split
from sprint_agent.countdown.smaller import Smaller, SmallerPuzzle
from sprint_agent.countdown.verify import ExpressionError, evaluate, explain, verify

__all__ = [
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
