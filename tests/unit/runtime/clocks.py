"""Clocks for tests of slots."""

from __future__ import annotations

from sprint_agent.runtime.critical_path import ExecutionClock, RunClock


def no_time() -> ExecutionClock:
    """A clock that stays at 0."""
    return ExecutionClock(RunClock(), 0, lambda: 0)
