"""What a run may use up. Limits are real: the deadline bounds the whole run, budgets are reserved.

A nested run draws on the budget of the run that it is part of, besides its own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

LimitName = Literal["deadline", "tokens", "executions", "cost"]
"""The limits that end a run. (The one on stages makes the planner answer.)"""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one run.

    `deadline` is in seconds from its start. `tokens` bounds all that is generated, and `cost` what
    that and the prompts cost, by the agent's prices: a call reserves the `max_tokens` of its sampling
    until it ends, and waits where those under way leave less. At most `stages` turns of the planner;
    the last one is made to answer (12 in the paper). `executions` bounds those that begin, and
    `concurrency` those of a run at the same time. None is no bound.

    Raises ValueError for a bound that is not positive.
    """

    deadline: float | None = None
    tokens: int | None = None
    cost: float | None = None
    stages: int = 12
    executions: int | None = None
    concurrency: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            bound = getattr(self, field.name)
            if bound is not None and bound <= 0:
                raise ValueError(f"the limit {field.name} must be positive, not {bound}")


@dataclass(frozen=True, slots=True)
class Prices:
    """What a million tokens cost, in any currency: of prompts, of cached prompts, of answers."""

    prompt: float
    completion: float
    cached: float | None = None

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """What so many tokens cost; `cached_tokens` are among the `prompt_tokens`."""
        cached = self.prompt if self.cached is None else self.cached
        prompt = (prompt_tokens - cached_tokens) * self.prompt + cached_tokens * cached
        return (prompt + completion_tokens * self.completion) / 1e6
