"""Countdown as a source of trajectories: a searcher writes them, and they are annotated by rule."""

from curate.countdown.data import (
    FLAT,
    CountdownData,
    drilled,
    puzzles,
    rft_sample,
    rft_samples,
    run_sample,
    runs,
    search_sample,
    sprint_samples,
    trajectories,
)
from curate.countdown.symbolic import annotate, trajectory

__all__ = [
    "FLAT",
    "CountdownData",
    "annotate",
    "drilled",
    "puzzles",
    "rft_sample",
    "rft_samples",
    "run_sample",
    "runs",
    "search_sample",
    "sprint_samples",
    "trajectories",
    "trajectory",
]
