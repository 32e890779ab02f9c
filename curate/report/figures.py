"""The report's figures, gathered in one pass over what was kept and one over what was dropped."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import get_args

from curate import select
from curate.candidate import Candidate
from curate.drops import DroppedRecord, Step


@dataclass(slots=True)
class Kept:
    """A few numbers for each trajectory that was kept.

    Ratios, stages and prompts are those of the divided ones; one that is undivided has none by intent.
    Lengths are in tokens, of all; `divided_…` are sums over the divided ones alone. `leaks` were mended
    in `mended` trajectories.
    """

    undivided: int = 0
    leaks: int = 0
    mended: int = 0
    executions_ratios: array[float] = field(default_factory=lambda: array("d"))
    steps_ratios: array[float] = field(default_factory=lambda: array("d"))
    stages: array[int] = field(default_factory=lambda: array("q"))
    prompts: Counter[int] = field(default_factory=Counter[int])
    tokens: array[int] = field(default_factory=lambda: array("q"))
    sequential_tokens: array[int] = field(default_factory=lambda: array("q"))
    divided_tokens: int = 0
    divided_sequential_tokens: int = 0

    def add(self, candidate: Candidate, found: select.RunMetrics) -> None:
        """Counts a trajectory that was kept."""
        self.tokens.append(found.tokens)
        self.sequential_tokens.append(found.sequential_tokens)
        if candidate.packed is not None and candidate.packed.leaks:
            self.leaks += len(candidate.packed.leaks)
            self.mended += 1
        if candidate.undivided:
            self.undivided += 1
            return
        self.divided_tokens += found.tokens
        self.divided_sequential_tokens += found.sequential_tokens
        self.executions_ratios.append(found.executions_ratio)
        self.steps_ratios.append(found.steps_ratio)
        self.stages.append(found.stages)
        self.prompts.update(found.prompts)

    @property
    def count(self) -> int:
        """How many were kept."""
        return len(self.tokens)

    @property
    def divided(self) -> int:
        """How many of them are divided into stages."""
        return self.count - self.undivided

    @property
    def mean_ratio(self) -> float | None:
        """Executions by stages, over the divided ones; None where there are none."""
        return mean(self.executions_ratios)

    @property
    def mean_steps_ratio(self) -> float | None:
        """Steps by stages, over the divided ones; None where there are none."""
        return mean(self.steps_ratios)

    @property
    def mean_stages(self) -> float | None:
        """Stages of a divided trajectory; None where there are none."""
        return mean(self.stages)

    @property
    def mean_prompts(self) -> float | None:
        """Prompts of a stage, over all stages; None where there are none."""
        return share(self.prompts_in_all, self.prompts.total())

    @property
    def prompts_in_all(self) -> int:
        """The prompts of all stages."""
        return sum(prompts * stages for prompts, stages in self.prompts.items())

    @property
    def parallel_stages(self) -> float | None:
        """The share of the stages that have more than one prompt; None where there are no stages."""
        several = sum(stages for prompts, stages in self.prompts.items() if prompts > 1)
        return share(several, self.prompts.total())

    @property
    def critical_share(self) -> float | None:
        """The critical path's share of all tokens of the divided ones; None where there are none."""
        return share(self.divided_sequential_tokens, self.divided_tokens)


@dataclass(frozen=True, slots=True)
class Losses:
    """How many were dropped at a step, by reason, the most first, and how many were `left` behind it."""

    step: Step
    reasons: tuple[tuple[str, int], ...]
    left: int

    @property
    def count(self) -> int:
        """How many were dropped at the step."""
        return sum(count for _, count in self.reasons)


def count_dropped(records: Iterable[DroppedRecord]) -> Counter[tuple[Step, str]]:
    """How many were dropped, by step and reason."""
    return Counter((record.step, str(record.reason)) for record in records)


def losses(counts: Counter[tuple[Step, str]], kept: int) -> tuple[Losses, ...]:
    """What was lost, step by step in the pipeline's order; a step that lost none is left out."""
    left = kept + counts.total()
    found: list[Losses] = []
    for step in get_args(Step):
        reasons = [(reason, n) for (at, reason), n in counts.items() if at == step]
        if reasons:
            left -= sum(n for _, n in reasons)
            ordered = tuple(sorted(reasons, key=lambda pair: (-pair[1], pair[0])))
            found.append(Losses(step, ordered, left))
    return tuple(found)


def mean(values: Iterable[float]) -> float | None:
    """The mean; None of nothing."""
    held = values if isinstance(values, array) else list(values)
    return fmean(held) if held else None


def middle(values: Iterable[float]) -> float | None:
    """The median; None of nothing."""
    held = sorted(values)
    return median(held) if held else None


def share(part: float, whole: float) -> float | None:
    """A part of a whole; None where the whole is nothing."""
    return part / whole if whole else None
