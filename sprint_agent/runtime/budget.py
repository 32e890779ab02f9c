"""The budget of a run: tokens, executions, cost.

Each call reserves what it may use before it is sent, so the budget is never exceeded, however many
calls run at the same time. The budget of a nested run is part of the budget of the run around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from sprint_agent.errors import BudgetExhausted
from sprint_agent.limits import LimitName, Limits, Prices

N = TypeVar("N", int, float)


class Ledger(Generic[N]):
    """One quantity that calls use up. It is reserved before a call is sent, and settled after its end.

    `budget` is None if there is no limit. Everything is also taken off `parent`, the ledger of the run
    around this one.
    """

    def __init__(self, budget: N | None, parent: Ledger[N] | None = None) -> None:
        self._budget = budget
        self._parent = parent
        self._taken: N | Literal[0] = 0
        """Reserved or spent. After a resume it may exceed the budget."""
        self._open_calls = 0

    @property
    def left(self) -> N | None:
        """What can be reserved now, never negative. None if there is no limit."""
        bounds: list[N] = []
        if self._parent is not None and self._parent.left is not None:
            bounds.append(self._parent.left)
        if self._budget is not None:
            zero = self._budget - self._budget  # of the type N
            bounds.append(max(self._budget - self._taken, zero))
        return min(bounds, default=None)

    def attainable(self, wanted: N) -> N:
        """Returns how much of `wanted` may be left after running calls have ended.

        A ledger with running calls may get everything back. After a resume, the result may be negative.
        """
        bound = wanted if self._parent is None else self._parent.attainable(wanted)
        if self._budget is None or self._open_calls:
            return bound
        return min(bound, self._budget - self._taken)

    def reserve(self, amount: N) -> None:
        """Takes off what a call may use at most, until the call is settled."""
        self._move(amount, 1)

    def settle(self, granted: N, used: N) -> None:
        """Ends a call that reserved `granted` and used `used`: the rest can be reserved again."""
        self._move(used - granted, -1)

    def spend(self, amount: N) -> None:
        """Takes off what was used without a reservation."""
        self._move(amount, 0)

    def _move(self, amount: N, calls: int) -> None:
        self._taken = self._taken + amount
        self._open_calls += calls
        if self._parent is not None:
            self._parent._move(amount, calls)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a call may use."""

    tokens: int
    """Tokens that it may generate."""
    cost: float
    """What these tokens and the prompt cost: the reservation."""
    bound: LimitName | None
    """The limit that left fewer tokens than were wanted, None if all were granted."""


class Budget:
    """What a run may still use of its limits on tokens, executions and cost.

    Raises:
        ValueError: The cost is limited, but there are no prices.
    """

    def __init__(
        self, limits: Limits, prices: Prices | None = None, parent: Budget | None = None
    ) -> None:
        if limits.cost is not None and prices is None:
            raise ValueError("a limit on cost needs prices: Sprint(…, prices=Prices(…))")
        self._prices = prices
        self._tokens = Ledger(limits.tokens, parent and parent._tokens)
        self._executions = Ledger(limits.executions, parent and parent._executions)
        self._cost = Ledger(limits.cost, parent and parent._cost)

    @property
    def tokens_left(self) -> int | None:
        """Tokens that a call can reserve now, None if there is no limit."""
        return self._tokens.left

    def nested(self, limits: Limits) -> Budget:
        """Returns the budget of a nested run: its own limits, within what is left of this budget."""
        return Budget(limits, self._prices, self)

    def begin_execution(self) -> None:
        """Takes one execution off the budget.

        Raises:
            BudgetExhausted: None is left.
        """
        if self._executions.left == 0:
            raise BudgetExhausted("executions")
        self._executions.spend(1)

    def reserve(self, prompt_tokens: int, wanted: int) -> Grant | None:
        """Reserves up to `wanted` tokens of an answer, and their cost.

        Returns None if too little is left now but a running call may give some back: wait and retry.
        `prompt_tokens` is 0 if the engine takes text. The cost of such a prompt is only known after
        the call has ended.

        Raises:
            BudgetExhausted: Not even one token is left.
        """
        cost = self._price(prompt_tokens, wanted)
        if _may_grow(self._tokens, wanted) or _may_grow(self._cost, cost):
            return None
        granted, bound = wanted, None
        if (left := self._tokens.left) is not None and left < granted:
            granted, bound = left, "tokens"
        money = self._cost.left
        if money is not None and self._prices is not None:
            beyond_prompt = money - self._prices.cost(prompt_tokens, 0)
            each = self._prices.cost(0, 1)
            affordable = int(beyond_prompt / each) if each else granted
            if beyond_prompt < 0 or affordable < granted:
                granted, bound = (0 if beyond_prompt < 0 else affordable), "cost"
        if granted <= 0:
            raise BudgetExhausted(bound or "tokens")
        cost = self._price(prompt_tokens, granted)
        self._tokens.reserve(granted)
        self._cost.reserve(cost)
        return Grant(granted, cost, bound)

    def settle(self, grant: Grant, prompt_tokens: int, used: int, cached_tokens: int) -> None:
        """Ends a call: what it did not use of its grant can be reserved again."""
        self._tokens.settle(grant.tokens, used)
        self._cost.settle(grant.cost, self._price(prompt_tokens, used, cached_tokens))

    def resume(self, prompt_tokens: int, used: int, cached_tokens: int, executions: int) -> None:
        """Takes off what an earlier part of the run used, even if it is more than what is left."""
        self._tokens.spend(used)
        self._cost.spend(self._price(prompt_tokens, used, cached_tokens))
        self._executions.spend(executions)

    def _price(self, prompt_tokens: int, used: int, cached_tokens: int = 0) -> float:
        return self._prices.cost(prompt_tokens, used, cached_tokens) if self._prices else 0.0


def _may_grow(ledger: Ledger[N], wanted: N) -> bool:
    """Whether less than `wanted` is left, and a running call may give more of it back."""
    left = ledger.left
    return left is not None and left < ledger.attainable(wanted)
