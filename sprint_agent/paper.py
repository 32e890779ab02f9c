"""The paper's own metrics of a run, to compare runs with the paper's results (section 5).

They differ from `Result.usage`, which counts what has to be paid for. Here, tags are removed before
tokens are counted, and text that was retried, repaired or stopped early is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from sprint_agent.protocol.tags import PromptClosed, TurnParser
from sprint_agent.result import Result, Stage

_TAG = re.compile(r"</?(?:Plan|prompt|Execution|execution|Final_answer|think)[^<>]*>|^-----$", re.M)


@dataclass(frozen=True, slots=True)
class PaperMetrics:
    """The paper's metrics of a run (section 5), in tokens without tags."""

    sequential_tokens: int
    """Tokens on the critical path.

    Of each stage, these are the tokens on the longest path through a prompt: the plan up to the end of
    the prompt, then its execution. The planner writes the rest of its plan beside the executions, so a
    stage is at least as long as its plan. The tokens of the answer are added.
    """
    total_tokens: int
    """Tokens of all plans, of all executions that are done, and of the answer."""
    parallelization_ratio: float
    """Executions per stage, 0 if there is no stage."""


def paper_metrics(result: Result, count: Callable[[str], int]) -> PaperMetrics:
    """Returns the paper's metrics of a run. `count` returns how many tokens a text has."""

    def tokens(text: str) -> int:
        return count(_TAG.sub("", text).strip())

    sequential = total = tokens(_tail(result))
    for stage in result.stages:
        executions = [tokens(e.text) if e.status == "done" else 0 for e in stage.executions]
        written = [tokens(stage.plan[:end]) for end in _prompt_ends(stage)]
        plan = tokens(stage.plan)
        paths = [p + e for p, e in zip(written, executions, strict=True)]
        sequential += max([plan, *paths])
        total += plan + sum(executions)
    return PaperMetrics(sequential, total, result.parallelization_ratio)


def _prompt_ends(stage: Stage) -> list[int]:
    """Returns the offset after each prompt of the plan."""
    events = TurnParser().feed(stage.plan)
    return [event.end for event in events if isinstance(event, PromptClosed)]


def _tail(result: Result) -> str:
    """Returns what the planner wrote after the last stage: its thoughts and the answer."""
    if not result.stages:
        return result.text.partition("<think>")[2]
    closing = f"</Execution_{result.stages[-1].number}>"
    return result.text.rpartition(closing)[2]
