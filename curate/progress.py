"""The terminal display of a curation: progress, what was kept and dropped, cost, remaining time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from curate.drops import Reason
from curate.llm.cost import Spending
from curate.pipeline import Outcome

_SHOWN = 4
"""How many reasons are displayed, the most frequent ones. The others are added up."""


class ProgressDisplay:
    """Counts the outcomes so far. It is a rich renderable.

    Args:
        total: the number of trajectories, None if it is unknown.
        spent: returns what models were asked so far. None if no model is asked.
    """

    def __init__(self, total: int | None, spent: Callable[[], Spending] | None) -> None:
        self.kept = 0
        self.dropped: Counter[Reason] = Counter()
        self._spent = spent
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._task = self._bar.add_task("trajectories", total=total)

    def add(self, outcome: Outcome) -> None:
        """Counts an outcome."""
        if outcome.dropped is None:
            self.kept += 1
        else:
            self.dropped[outcome.dropped.reason] += 1
        self._bar.advance(self._task)

    @property
    def retryable(self) -> int:
        """How many were dropped for a reason that may not recur when they are asked for again."""
        return self.dropped[Reason.BUSY] + self.dropped[Reason.FAILED]

    def __rich__(self) -> RenderableType:
        return Group(self._bar, *(Text(line, style="dim") for line in self.lines()))

    def lines(self) -> list[str]:
        """Returns what was kept and dropped, and what it cost, in words."""
        lost = self.dropped.total()
        line = f"kept {self.kept:,}, dropped {lost:,}"
        if lost:
            common = self.dropped.most_common(_SHOWN)
            parts = [f"{reason} {count:,}" for reason, count in common]
            rest = lost - sum(count for _, count in common)
            line += ": " + ", ".join([*parts, *([f"others {rest:,}"] if rest else [])])
        return [line, *([_in_words(self._spent())] if self._spent else [])]


def _in_words(spending: Spending) -> str:
    tokens = f"{spending.prompt_tokens:,} + {spending.completion_tokens:,} tokens"
    parts = [f"{spending.requests:,} requests", f"{spending.cached:,} cached answers", tokens]
    if spending.retries:
        parts.insert(1, f"{spending.retries:,} retries")
    spent = spending.cost + spending.lost
    if spent or spending.paid:
        parts.append(f"cost {spent:,.2f}" + (f" (+ {spending.paid:,.2f})" if spending.paid else ""))
    return ", ".join(parts)
