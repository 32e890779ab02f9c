"""The budget of a run (tokens, executions, cost): calls reserve what they may use before they go out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from sprint_agent.errors import BudgetExhausted
from sprint_agent.limits import LimitName, Limits, Prices

N = TypeVar("N", int, float)


class Ledger(Generic[N]):
    """A quantity that calls use up: reserved before one is sent, settled when it has ended.

    So the budget is never overshot, however many calls are under way. What is reserved is also
    reserved with `parent`, the ledger of the run that this one is part of, and what is spent spent.
    """

    def __init__(self, budget: N | None, parent: Ledger[N] | None = None) -> None:
        self._budget = budget
        self._parent = parent
        self._gone: N | Literal[0] = 0
        self._open = 0

    @property
    def left(self) -> N | None:
        """What could be reserved now; None where there is no bound."""
        bounds: list[N] = []
        if self._parent is not None and self._parent.left is not None:
            bounds.append(self._parent.left)
        if self._budget is not None:
            bounds.append(max(self._budget - self._gone, self._budget - self._budget))
        return min(bounds, default=None)

    def attainable(self, wanted: N) -> N:
        """What of `wanted` may be left once calls under way have ended."""
        bound = wanted if self._parent is None else self._parent.attainable(wanted)
        own = None if self._budget is None or self._open else self._budget - self._gone
        return bound if own is None else min(bound, own)

    def reserve(self, amount: N) -> None:
        """Takes what a call may use up off what is left, until it is settled."""
        self._move(amount, 1)

    def settle(self, granted: N, used: N) -> None:
        """Ends a call: what it did not use of its reservation is free again."""
        self._move(used - granted, -1)

    def spend(self, amount: N) -> None:
        """Takes off what is used up."""
        self._move(amount, 0)

    def _move(self, amount: N, calls: int) -> None:
        self._gone = self._gone + amount
        self._open += calls
        if self._parent is not None:
            self._parent._move(amount, calls)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a call may use: `tokens` to generate, for at most `cost`. `bound` is what cut it down."""

    tokens: int
    cost: float
    bound: LimitName | None


class Budget:
    """All that a run may use up and that calls must not overshoot: tokens, executions, cost."""

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
        """Tokens that a call could generate now; None where there is no bound."""
        return self._tokens.left

    def nested(self, limits: Limits) -> Budget:
        """The budget of a run inside this one: its own limits, within this one's."""
        return Budget(limits, self._prices, self)

    def begin_execution(self) -> None:
        """Takes one execution off the budget. Raises BudgetExhausted where none is left."""
        if self._executions.left == 0:
            raise BudgetExhausted("executions")
        self._executions.spend(1)

    def reserve(self, prompt_tokens: int, wanted: int) -> Grant | None:
        """Reserves up to `wanted` tokens of an answer. Raises BudgetExhausted if not even one is left.

        None where less is left, and more may be as soon as a call under way has ended. `prompt_tokens`
        are 0 where the engine takes text: the cost of such prompts is known only when the call has
        ended.
        """
        whole = self._price(prompt_tokens, wanted)
        if _awaited(self._tokens, wanted) or _awaited(self._cost, whole):
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
        """Ends a call: what it did not use of its grant is free again."""
        self._tokens.settle(grant.tokens, used)
        self._cost.settle(grant.cost, self._price(prompt_tokens, used, cached_tokens))

    def resume(self, prompt_tokens: int, used: int, cached_tokens: int, executions: int) -> None:
        """Takes off what an earlier part of the run had used, even where it is more than is left."""
        self._tokens.spend(used)
        self._cost.spend(self._price(prompt_tokens, used, cached_tokens))
        self._executions.spend(executions)

    def _price(self, prompt_tokens: int, used: int, cached_tokens: int = 0) -> float:
        return self._prices.cost(prompt_tokens, used, cached_tokens) if self._prices else 0.0


def _awaited(ledger: Ledger[N], wanted: N) -> bool:
    """Whether less than `wanted` is left, and a call under way may give more of it back."""
    left = ledger.left
    return left is not None and left < ledger.attainable(wanted)
