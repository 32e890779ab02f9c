"""Countdown as a source of trajectories: a searcher that writes them, and the annotator that knows them."""

from curate.countdown.data import (
    CountdownData,
    puzzles,
    rft_sample,
    sprint_samples,
    trajectories,
)
from curate.countdown.symbolic import annotate, trajectory

__all__ = [
    "CountdownData",
    "annotate",
    "puzzles",
    "rft_sample",
    "sprint_samples",
    "trajectories",
    "trajectory",
]
