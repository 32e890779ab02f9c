"""Countdown as a source of trajectories: a searcher writes them, and an annotator knows them."""

from curate.countdown.data import (
    CountdownData,
    puzzles,
    rft_sample,
    run_sample,
    runs,
    search_sample,
    sprint_samples,
    trajectories,
)
from curate.countdown.symbolic import annotate, trajectory

__all__ = [
    "CountdownData",
    "annotate",
    "puzzles",
    "rft_sample",
    "run_sample",
    "runs",
    "search_sample",
    "sprint_samples",
    "trajectories",
    "trajectory",
]
