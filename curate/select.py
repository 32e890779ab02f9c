"""Selection: which trajectories are parallel enough to learn planning from, one for each question."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from curate.drops import Dropped, Reason
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import Transcript

Ratio = Literal["executions", "steps"]

Count = Callable[[str], int]
"""How many tokens a text has."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run is like. Tokens are those of the text, tags included.

    `steps` are the trains of thought of all plans, `sequential_tokens` the paper's critical path: over
    all stages those of the longest way through a prompt, and the answer's.
    """

    stages: int
    steps: int
    prompts: tuple[int, ...]
    tokens: int
    sequential_tokens: int

    @property
    def executions_ratio(self) -> float:
        """Executions by stages: the parallelization ratio of the authors' code."""
        return sum(self.prompts) / self.stages if self.stages else 0.0

    @property
    def steps_ratio(self) -> float:
        """Steps by stages: the parallelization ratio of the paper."""
        return self.steps / self.stages if self.stages else 0.0

    def ratio(self, name: Ratio) -> float:
        """The parallelization ratio of that name."""
        return self.executions_ratio if name == "executions" else self.steps_ratio


@dataclass(frozen=True, slots=True)
class Selection:
    """What is kept.

    Parameters
    ----------
    ratio
        Which parallelization ratio counts: executions by stages, or steps by stages.
    least_ratio
        The least ratio of what is kept.
    most_stages
        The most stages that it has.
    longest
        The most tokens that it has; any number, if this is not given.
    keep_sequential
        The share of the trajectories below the least ratio that is kept undivided, to teach when not to
        split.
    """

    ratio: Ratio = "executions"
    least_ratio: float = 1.5
    most_stages: int = 11
    longest: int | None = None
    keep_sequential: float = 0.0


Rank = tuple[int, float, int, str]
"""The order of trajectories on one question, the best one first."""


def figures(run: Transcript, count: Count) -> Figures:
    """The figures of a run whose stages wait for all executions."""
    sequential = count(run.answer)
    prompts: list[int] = []
    steps = 0
    for number, stage in enumerate(run.stages, 1):
        steps += stage.turn.count(tags.SEPARATOR) + 1
        prompts.append(len(stage.executions))
        sequential += _longest(number, stage.turn, stage.executions, count)
    return Figures(len(run.stages), steps, tuple(prompts), count(run.text), sequential)


def check(found: Figures, wanted: Selection) -> None:
    """Raises Dropped where a trajectory is not parallel enough, or too long."""
    ratio = found.ratio(wanted.ratio)
    if ratio < wanted.least_ratio:
        raise Dropped(
            Reason.RATIO,
            f"{ratio:.2f} {wanted.ratio} a stage, and {wanted.least_ratio:g} are wanted",
        )
    check_length(found, wanted)


def check_length(found: Figures, wanted: Selection) -> None:
    """Raises Dropped where a trajectory has too many stages, or too many tokens."""
    if found.stages > wanted.most_stages:
        raise Dropped(Reason.STAGES, f"{found.stages}, and {wanted.most_stages} are allowed")
    if wanted.longest is not None and found.tokens > wanted.longest:
        raise Dropped(Reason.LENGTH, f"{found.tokens} tokens, and {wanted.longest} are allowed")


def rank(found: Figures, wanted: Selection, divided: bool, key: str) -> Rank:
    """How good a trajectory is among those on its question; the least is the best."""
    return (0 if divided else 1, -found.ratio(wanted.ratio), found.sequential_tokens, key)


def in_share(key: str, share: float, purpose: str) -> bool:
    """Whether what `key` stands for is in a share of all: the same on every machine, in every order."""
    digest = hashlib.sha256(f"{purpose}/{key}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def best(ranked: Iterable[tuple[int, str, Rank]]) -> dict[str, int]:
    """Of positions, the keys of their questions and their ranks: the best position by question."""
    first: dict[str, tuple[Rank, int]] = {}
    for position, question, found in ranked:
        if question not in first or (found, position) < first[question]:
            first[question] = (found, position)
    return {question: position for question, (_, position) in first.items()}


def _longest(number: int, turn: str, executions: tuple[str, ...], count: Count) -> int:
    parser = tags.TurnParser()
    ends = [e.end for e in parser.feed(turn) if isinstance(e, tags.PromptClosed)]
    ways = [count(turn[:end]) + count(text) for end, text in zip(ends, executions, strict=False)]
    return max(ways, default=0) + count(turn[ends[-1] if ends else 0 :])
