"""What a run may use at most, and what its tokens cost."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

LimitName = Literal["deadline", "tokens", "executions", "cost"]
"""The limits that end a run. (The limit on stages makes the planner answer instead.)"""


DEFAULT_STAGES = 12
"""The limit on stages if none is set (the paper's)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one run. None means that there is no limit, except for `stages`.

    A nested run uses up the budget of the run that it is part of, besides its own.

    Raises:
        ValueError: A limit is not positive.
        TypeError: A limit is not a number, or not a whole one where only those make sense.
    """

    deadline: float | None = None
    """Seconds from the beginning of the run to its end, whatever is still running then."""
    tokens: int | None = None
    """Tokens that the run generates, nested runs included.

    It is never exceeded: each call reserves a share, which grows while its answer arrives. Calls run
    at the same time as long as there are tokens for all of them. If too few are left, a call waits
    until others end, and is cut off if nothing comes back. With an engine that reports no ids, what a
    call has used is estimated until it ends.
    """
    cost: float | None = None
    """What generated tokens and prompts cost, by the agent's `Prices`. Reserved like `tokens`."""
    stages: int | None = None
    """Turns of the planner. The last one is made to answer. None means 12, the paper's limit."""
    executions: int | None = None
    """Executions that begin, nested runs included."""
    concurrency: int | None = None
    """Executions that run at the same time, nested runs included."""

    def __post_init__(self) -> None:
        for field in fields(self):
            bound: object = getattr(self, field.name)
            if bound is None:
                continue
            whole = field.name not in ("deadline", "cost")
            kinds = int if whole else int | float
            if not isinstance(bound, kinds) or isinstance(bound, bool):
                number = "a whole number" if whole else "a number"
                raise TypeError(f"the limit {field.name} must be {number}, not {bound!r}")
            if not bound > 0:  # so that NaN is refused too
                raise ValueError(f"the limit {field.name} must be positive, not {bound}")

    def within(self, other: Limits) -> Limits:
        """Returns the tighter limit of both, field by field."""
        tighter: dict[str, Any] = {}
        for field in fields(self):
            bounds = (getattr(self, field.name), getattr(other, field.name))
            tighter[field.name] = min((b for b in bounds if b is not None), default=None)
        return Limits(**tighter)


@dataclass(frozen=True, slots=True)
class Prices:
    """What a million tokens cost, in any currency."""

    prompt: float
    """A million prompt tokens that are not taken from the engine's prefix cache."""
    completion: float
    """A million generated tokens."""
    cached: float | None = None
    """A million prompt tokens that are taken from the cache. None means the same as `prompt`."""

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """Returns what these tokens cost. The `cached_tokens` are among the `prompt_tokens`."""
        cached = self.prompt if self.cached is None else self.cached
        prompt = (prompt_tokens - cached_tokens) * self.prompt + cached_tokens * cached
        return (prompt + completion_tokens * self.completion) / 1e6
