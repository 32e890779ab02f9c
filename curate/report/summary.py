"""The numbers of the report, from one pass over the kept and one over the dropped trajectories."""

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
class KeptSummary:
    """A few numbers for each kept trajectory.

    Ratios, stages and prompts are those of the divided trajectories: an unsplit one has none on
    purpose. Lengths are those of all kept trajectories, in tokens.
    """

    unsplit: int = 0
    """How many trajectories are kept unsplit."""
    leaks: int = 0
    """How many leaks were mended."""
    mended: int = 0
    """In how many trajectories."""
    executions_ratios: array[float] = field(default_factory=lambda: array("d"))
    """Executions per stage, for each divided trajectory."""
    steps_ratios: array[float] = field(default_factory=lambda: array("d"))
    """Steps per stage, for each divided trajectory."""
    stages: array[int] = field(default_factory=lambda: array("q"))
    """The number of stages of each divided trajectory."""
    prompts: Counter[int] = field(default_factory=Counter[int])
    """How many stages have a number of prompts, by that number."""
    tokens: array[int] = field(default_factory=lambda: array("q"))
    """The length of each trajectory."""
    sequential_tokens: array[int] = field(default_factory=lambda: array("q"))
    """The critical path of each trajectory."""
    divided_tokens: int = 0
    """The sum of the lengths of the divided trajectories."""
    divided_sequential_tokens: int = 0
    """The sum of the critical paths of the divided trajectories."""

    def add(self, candidate: Candidate, metrics: select.RunMetrics) -> None:
        """Adds a kept trajectory."""
        self.tokens.append(metrics.tokens)
        self.sequential_tokens.append(metrics.sequential_tokens)
        if candidate.packed is not None and candidate.packed.leaks:
            self.leaks += len(candidate.packed.leaks)
            self.mended += 1
        if candidate.unsplit:
            self.unsplit += 1
            return
        self.divided_tokens += metrics.tokens
        self.divided_sequential_tokens += metrics.sequential_tokens
        self.executions_ratios.append(metrics.executions_ratio)
        self.steps_ratios.append(metrics.steps_ratio)
        self.stages.append(metrics.stages)
        self.prompts.update(metrics.prompts)

    @property
    def count(self) -> int:
        """The number of kept trajectories."""
        return len(self.tokens)

    @property
    def divided(self) -> int:
        """The number of those that are divided into stages."""
        return self.count - self.unsplit

    @property
    def mean_ratio(self) -> float | None:
        """Executions per stage, averaged over the divided trajectories. None if there are none."""
        return mean(self.executions_ratios)

    @property
    def mean_steps_ratio(self) -> float | None:
        """Steps per stage, averaged over the divided trajectories. None if there are none."""
        return mean(self.steps_ratios)

    @property
    def mean_stages(self) -> float | None:
        """Stages per divided trajectory. None if there are none."""
        return mean(self.stages)

    @property
    def mean_prompts(self) -> float | None:
        """Prompts per stage, averaged over all stages. None if there are none."""
        return share(self.all_prompts, self.prompts.total())

    @property
    def all_prompts(self) -> int:
        """The number of prompts of all stages."""
        return sum(prompts * stages for prompts, stages in self.prompts.items())

    @property
    def parallel_stages(self) -> float | None:
        """The share of the stages that have more than one prompt. None if there are no stages."""
        several = sum(stages for prompts, stages in self.prompts.items() if prompts > 1)
        return share(several, self.prompts.total())

    @property
    def critical_share(self) -> float | None:
        """The critical path's share of the divided trajectories' tokens. None if there are none."""
        return share(self.divided_sequential_tokens, self.divided_tokens)


@dataclass(frozen=True, slots=True)
class StepLosses:
    """The trajectories that were dropped at one step."""

    step: Step
    reasons: tuple[tuple[str, int], ...]
    """Each reason and its number of trajectories, the most frequent one first."""
    left: int
    """How many trajectories were left after the step."""

    @property
    def count(self) -> int:
        """The number of trajectories that were dropped at the step."""
        return sum(count for _, count in self.reasons)


def count_dropped(records: Iterable[DroppedRecord]) -> Counter[tuple[Step, str]]:
    """Counts the dropped trajectories by step and reason."""
    return Counter((record.step, str(record.reason)) for record in records)


def losses(counts: Counter[tuple[Step, str]], kept: int) -> tuple[StepLosses, ...]:
    """Returns the losses of each step, in the pipeline's order, without the steps that lost none."""
    left = kept + counts.total()
    found: list[StepLosses] = []
    for step in get_args(Step):
        reasons = [(reason, n) for (at, reason), n in counts.items() if at == step]
        if reasons:
            left -= sum(n for _, n in reasons)
            ordered = tuple(sorted(reasons, key=lambda pair: (-pair[1], pair[0])))
            found.append(StepLosses(step, ordered, left))
    return tuple(found)


def mean(values: Iterable[float]) -> float | None:
    """Returns the mean. None if there are no values."""
    sample = values if isinstance(values, array) else list(values)
    return fmean(sample) if sample else None


def middle(values: Iterable[float]) -> float | None:
    """Returns the median. None if there are no values."""
    ordered = sorted(values)
    return median(ordered) if ordered else None


def share(part: float, whole: float) -> float | None:
    """Returns the share of a part in a whole. None if the whole is 0."""
    return part / whole if whole else None
