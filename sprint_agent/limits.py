"""What a run may use up. Limits are real: the deadline bounds the whole run, tokens are reserved."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one run.

    `deadline` is in seconds from its start. `tokens` bounds all that is generated. At most `stages`
    turns of the planner; the last one is made to answer (12 in the paper). `concurrency` bounds the
    executions of a run at the same time. None is no bound.

    Raises ValueError for a bound that is not positive.
    """

    deadline: float | None = None
    tokens: int | None = None
    stages: int = 12
    concurrency: int | None = None

    def __post_init__(self) -> None:
        for name in ("deadline", "tokens", "stages", "concurrency"):
            bound = getattr(self, name)
            if bound is not None and bound <= 0:
                raise ValueError(f"the limit {name} must be positive, not {bound}")


class TokenLedger:
    """The tokens of a run: reserved before a call is sent, settled when it has ended.

    So the budget is never overshot, however many calls are under way.
    """

    def __init__(self, budget: int | None) -> None:
        self._budget = budget
        self._reserved = 0
        self._used = 0

    @property
    def used(self) -> int:
        """Tokens of the calls that have ended."""
        return self._used

    def reserve(self, wanted: int) -> int:
        """Reserves up to `wanted` tokens; returns how many, 0 where none are left."""
        if self._budget is None:
            granted = wanted
        else:
            granted = max(0, min(wanted, self._budget - self._used - self._reserved))
        self._reserved += granted
        return granted

    def settle(self, granted: int, used: int) -> None:
        """Ends a call: what it did not use of its reservation is free again."""
        self._reserved -= granted
        self._used += used
