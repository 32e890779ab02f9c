"""Selection: keeps the trajectories that are parallel enough, and the best one on each question."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from curate.drops import Dropped, Reason
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import Transcript

Ratio = Literal["executions", "steps"]

Count = Callable[[str], int]
"""Returns how many tokens a text has."""


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """How long and how parallel a run is. Tokens are counted in the whole text, tags included."""

    stages: int
    steps: int
    """The trains of thought of all plans."""
    prompts: tuple[int, ...]
    """The number of prompts of each stage."""
    tokens: int
    sequential_tokens: int
    """The paper's critical path.

    It is the sum of the longest path through a prompt over all stages, plus the answer. A stage is at
    least as long as its plan.
    """

    @property
    def executions_ratio(self) -> float:
        """Executions per stage, the parallelization ratio in the authors' code."""
        return sum(self.prompts) / self.stages if self.stages else 0.0

    @property
    def steps_ratio(self) -> float:
        """Steps per stage, the parallelization ratio in the paper."""
        return self.steps / self.stages if self.stages else 0.0

    def ratio(self, name: Ratio) -> float:
        """Returns the parallelization ratio of that name."""
        return self.executions_ratio if name == "executions" else self.steps_ratio


@dataclass(frozen=True, slots=True)
class Selection:
    """What is kept.

    Parameters
    ----------
    ratio
        Parallelization ratio that counts: executions per stage, or steps per stage.
    least_ratio
        Minimum ratio of a trajectory.
    most_stages
        Maximum number of stages.
    longest
        Maximum number of tokens. By default there is no limit.
    keep_sequential
        Share of the trajectories below the minimum ratio that is kept as one plan without prompts.
        They teach when not to split.
    """

    ratio: Ratio = "executions"
    least_ratio: float = 1.5
    most_stages: int = 11
    longest: int | None = None
    keep_sequential: float = 0.0


Rank = tuple[int, float, int, str]
"""A sort key for the trajectories on one question. The best one sorts first."""


def measure(run: Transcript, count: Count) -> RunMetrics:
    """Returns the metrics of a run, as if each of its stages waited for all of its executions."""
    sequential = count(run.answer)
    prompts: list[int] = []
    steps = 0
    for stage in run.stages:
        steps += stage.turn.count(tags.SEPARATOR) + 1
        prompts.append(len(stage.executions))
        sequential += _longest_path(stage.turn, stage.executions, count)
    return RunMetrics(len(run.stages), steps, tuple(prompts), count(run.text), sequential)


def check(metrics: RunMetrics, wanted: Selection) -> None:
    """Checks that a trajectory is parallel enough and not too long.

    Raises:
        Dropped: it is not.
    """
    ratio = metrics.ratio(wanted.ratio)
    if ratio < wanted.least_ratio:
        raise Dropped(
            Reason.RATIO,
            f"{ratio:.2f} {wanted.ratio} per stage, the minimum is {wanted.least_ratio:g}",
        )
    check_length(metrics, wanted)


def check_length(metrics: RunMetrics, wanted: Selection) -> None:
    """Checks that a trajectory has neither too many stages nor too many tokens.

    Raises:
        Dropped: it has.
    """
    if metrics.stages > wanted.most_stages:
        raise Dropped(
            Reason.STAGES, f"{metrics.stages} stages, the maximum is {wanted.most_stages}"
        )
    if wanted.longest is not None and metrics.tokens > wanted.longest:
        raise Dropped(Reason.LENGTH, f"{metrics.tokens} tokens, the maximum is {wanted.longest}")


def rank(metrics: RunMetrics, wanted: Selection, divided: bool, key: str) -> Rank:
    """Returns the rank of a trajectory among those on its question. The smallest is the best.

    A divided one is better than an unsplit one. After that the ratio counts, then the critical
    path, then the key, so that the order never depends on the machine.
    """
    return (0 if divided else 1, -metrics.ratio(wanted.ratio), metrics.sequential_tokens, key)


def in_share(key: str, share: float, purpose: str) -> bool:
    """Returns whether a key is in a random share of all keys.

    The choice is a hash of the key and the purpose, so it is the same on every machine and in every
    order.
    """
    return _draw(key, purpose) < share * 2**64


def held_out(keys: Collection[str], share: float, *, is_shard: bool = False) -> frozenset[str]:
    """Returns the keys of the questions that are for validation.

    Each is in the random share or not, whatever the other questions are. But of two or more questions
    at least one is held out and at least one is left, unless the share is 0 or 1, or the questions are
    a shard, whose choice must not depend on which questions it has.
    """
    drawn = {key for key in keys if in_share(key, share, "validation")}
    if 0 < share < 1 and len(keys) > 1 and not is_shard:
        order = sorted(keys, key=lambda key: (_draw(key, "validation"), key))
        drawn = (drawn | {order[0]}) - {order[-1]}
    return frozenset(drawn)


def _draw(key: str, purpose: str) -> int:
    """Returns a random number of 64 bits that belongs to a key."""
    return int.from_bytes(hashlib.sha256(f"{purpose}/{key}".encode()).digest()[:8])


def best(ranked: Iterable[tuple[int, str, Rank]]) -> dict[str, int]:
    """Returns the position of the best trajectory on each question, by the question's key.

    Args:
        ranked: the position, the question's key and the rank of each trajectory.
    """
    first: dict[str, tuple[Rank, int]] = {}
    for position, question, found in ranked:
        if question not in first or (found, position) < first[question]:
            first[question] = (found, position)
    return {question: position for question, (_, position) in first.items()}


def _longest_path(turn: str, executions: tuple[str, ...], count: Count) -> int:
    parser = tags.TurnParser()
    ends = [e.end for e in parser.feed(turn) if isinstance(e, tags.PromptClosed)]
    paths = [count(turn[:end]) + count(text) for end, text in zip(ends, executions, strict=False)]
    # The planner writes what follows a prompt beside the execution of that prompt.
    return max([count(turn), *paths])
