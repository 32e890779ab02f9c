"""The paper's own metrics of a run, for comparison with its figures (section 5).

They differ from `Result.usage`, which counts what is paid for: here tags are stripped before tokens are
counted, and what was retried, repaired or stopped early is left out.
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
    """What the paper reports of a run, in tokens without tags.

    `sequential_tokens` are, over all stages, those of the longest way through a prompt (the planner's
    up to its end, then the execution's), of the plan behind its last prompt, and of the answer.
    """

    sequential_tokens: int
    total_tokens: int
    parallelization_ratio: float


def paper_metrics(result: Result, count: Callable[[str], int]) -> PaperMetrics:
    """The paper's metrics of a run. `count` is how many tokens a text has."""

    def tokens(text: str) -> int:
        return count(_TAG.sub("", text).strip())

    sequential = total = tokens(_tail(result))
    for stage in result.stages:
        executions = [tokens(e.text) if e.status == "done" else 0 for e in stage.executions]
        written = [tokens(stage.plan[:end]) for end in _prompt_ends(stage)]
        plan = tokens(stage.plan)
        ways = [p + e for p, e in zip(written, executions, strict=True)]
        sequential += max(ways, default=0) + plan - (written[-1] if written else 0)
        total += plan + sum(executions)
    return PaperMetrics(sequential, total, result.parallelization_ratio)


def _prompt_ends(stage: Stage) -> list[int]:
    """Where in the plan each of its prompts ends."""
    events = TurnParser().feed(stage.plan)
    return [event.end for event in events if isinstance(event, PromptClosed)]


def _tail(result: Result) -> str:
    """What the planner wrote behind the last stage: the answer, and what it thought before it."""
    if not result.stages:
        return result.text.partition("<think>")[2]
    closing = f"</Execution_{result.stages[-1].number}>"
    return result.text.rpartition(closing)[2]
