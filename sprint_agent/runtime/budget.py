"""The budget of a run: tokens, executions, cost.

A call reserves a share before it is sent, and the share grows while its answer is read: it is always
ahead of what arrived. So calls run side by side on one budget, and still it is never exceeded. The
budget of a nested run is part of the budget of the run around it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from sprint_agent.errors import BudgetExhausted
from sprint_agent.limits import LimitName, Limits, Prices

N = TypeVar("N", int, float)


class Ledger(Generic[N]):
    """One quantity that calls use up. Shares of it are reserved, and settled when a call ends.

    `budget` is None if there is no limit. Everything is also taken off `parent`, the ledger of the run
    around this one.
    """

    def __init__(self, budget: N | None, parent: Ledger[N] | None = None) -> None:
        self._budget = budget
        self._parent = parent
        self._reserved: N | Literal[0] = 0
        self._spent: N | Literal[0] = 0
        """What ended calls used. After a resume it may exceed the budget."""
        self._running = 0
        """The calls that are open and do not wait for a larger share."""

    @property
    def limited(self) -> bool:
        """Whether there is a limit, here or around."""
        around = self._parent is not None and self._parent.limited
        return self._budget is not None or around

    @property
    def left(self) -> N | None:
        """What can be reserved now, never negative. None if there is no limit."""
        bounds: list[N] = []
        if self._parent is not None and self._parent.left is not None:
            bounds.append(self._parent.left)
        if self._budget is not None:
            zero = self._budget - self._budget  # of the type N
            bounds.append(max(self._budget - self._spent - self._reserved, zero))
        return min(bounds, default=None)

    def attainable(self, wanted: N) -> N:
        """Returns how much of `wanted` a new call may get, now or after running calls have ended.

        A running call may give back all that it reserved. After a resume, the result may be negative.
        """
        bound = wanted if self._parent is None else self._parent.attainable(wanted)
        if self._budget is None:
            return bound
        kept = 0 if self._running else self._reserved
        return min(bound, self._budget - self._spent - kept)

    def may_free(self, amount: N) -> bool:
        """Whether an open call that lacks `amount` may get it after other running calls have ended."""
        if self._parent is not None and not self._parent.may_free(amount):
            return False
        if self._budget is None or self._budget - self._spent - self._reserved >= amount:
            return True
        return self._running > 1

    def open(self, share: N) -> None:
        """A call begins and reserves `share`."""
        self._move(share, share - share, 1)

    def grow(self, amount: N) -> None:
        """An open call reserves more."""
        self._move(amount, amount - amount, 0)

    def settle(self, share: N, used: N) -> None:
        """Ends a call that reserved `share` and used `used`: the rest can be reserved again."""
        self._move(-share, used, -1)

    def spend(self, amount: N) -> None:
        """Takes off what was used without a reservation."""
        self._move(amount - amount, amount, 0)

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Surrounds the wait of an open call for a larger share: others cannot count on it."""
        self._count(-1)
        try:
            yield
        finally:
            self._count(1)

    def _count(self, running: int) -> None:
        self._running += running
        if self._parent is not None:
            self._parent._count(running)

    def _move(self, reserved: N, spent: N, running: int) -> None:
        self._reserved = self._reserved + reserved
        self._spent = self._spent + spent
        self._running += running
        if self._parent is not None:
            self._parent._move(reserved, spent, running)


@dataclass(slots=True)
class Grant:
    """The share of one call, which grows while its answer is read."""

    tokens: int
    """Tokens that are reserved."""
    cost: float
    """What these tokens and the prompt cost: the reservation."""
    most: int
    """Tokens that the call may generate in all: its `max_tokens`."""
    bound: LimitName | None
    """The limit that leaves fewer tokens than were wanted, None if all may be generated."""
    ahead: int
    """Tokens that must be reserved beyond those that arrived, unless all of `most` are."""

    def suffices(self, arrived: int) -> bool:
        """Whether the share covers `arrived` tokens and those that may have been generated since."""
        return self.tokens >= min(self.most, arrived + self.ahead)


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
        self._limited = self._tokens.limited or self._cost.limited

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

    def reserve(
        self, prompt_tokens: int, wanted: int, ahead: int, arrived: int = 0
    ) -> Grant | None:
        """Begins a call that wants to generate up to `wanted` tokens, and reserves its first share.

        Returns None if too little is left now but a running call may give some back: wait and retry.

        Args:
            prompt_tokens: Tokens of the prompt. They are 0 if the engine takes text: the cost of such
                a prompt is only known after the call has ended.
            wanted: The `max_tokens` of the call.
            ahead: Tokens that may have been generated and have not arrived. See `Grant.ahead`.
            arrived: Tokens that arrived already, in an earlier part of the run.

        Raises:
            BudgetExhausted: Not even one token can be generated.
        """
        if not self._limited:
            if wanted <= 0:
                raise BudgetExhausted("tokens")
            return Grant(wanted, 0.0, wanted, None, ahead)
        prompt, each = self._price(prompt_tokens, 0), self._price(0, 1)
        most, bound = self._most(prompt, each, wanted)
        if most <= 0:
            raise BudgetExhausted(bound or "tokens")
        share = min(most, arrived + ahead)
        if self._room(share, prompt, each) < share:
            return None
        cost = prompt + share * each
        self._tokens.open(share)
        self._cost.open(cost)
        return Grant(share, cost, most, bound, ahead)

    def extend(self, grant: Grant, arrived: int) -> bool:
        """Lets the share of a call grow if it does not suffice for `arrived` tokens and the next ones.

        Returns False if too little is left now but another running call may give some back.

        Raises:
            BudgetExhausted: Nothing will come back.
        """
        if grant.suffices(arrived):
            return True
        each = self._price(0, 1)
        lacking = min(grant.most, arrived + grant.ahead) - grant.tokens
        # Twice as far as it must, so that not each token moves the ledgers.
        welcome = min(grant.most, arrived + 2 * grant.ahead) - grant.tokens
        more = self._room(welcome, 0.0, each)
        if more >= lacking:
            grant.tokens += more
            grant.cost += more * each
            self._tokens.grow(more)
            self._cost.grow(more * each)
            return True
        if self._tokens.may_free(lacking) and self._cost.may_free(lacking * each):
            return False
        short = (self._tokens.left or 0) < lacking and self._tokens.limited
        raise BudgetExhausted("tokens" if short else "cost")

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Surrounds the wait of an open call for a larger share."""
        with self._tokens.waiting(), self._cost.waiting():
            yield

    def settle(self, grant: Grant, prompt_tokens: int, used: int, cached_tokens: int) -> None:
        """Ends a call: what it did not use of its share can be reserved again."""
        if self._limited:
            self._tokens.settle(grant.tokens, used)
            self._cost.settle(grant.cost, self._price(prompt_tokens, used, cached_tokens))

    def resume(self, prompt_tokens: int, used: int, cached_tokens: int, executions: int) -> None:
        """Takes off what an earlier part of the run used, even if it is more than what is left."""
        self._tokens.spend(used)
        self._cost.spend(self._price(prompt_tokens, used, cached_tokens))
        self._executions.spend(executions)

    def _most(self, prompt: float, each: float, wanted: int) -> tuple[int, LimitName | None]:
        """Returns how many of the wanted tokens may be left for a new call, and what bounds them."""
        most, bound = wanted, None
        if (tokens := self._tokens.attainable(wanted)) < most:
            most, bound = tokens, "tokens"
        if self._cost.limited:
            whole = prompt + wanted * each
            money = self._cost.attainable(whole) - prompt
            affordable = int(money / each) if each else (wanted if money >= 0 else 0)
            if affordable < most:
                most, bound = affordable, "cost"
        return most, bound

    def _room(self, tokens: int, prompt: float, each: float) -> int:
        """Returns how many of `tokens` can be reserved now, besides the cost of a prompt."""
        left, money = self._tokens.left, self._cost.left
        room = tokens if left is None else min(tokens, left)
        if money is None:
            return room
        if money < prompt:
            return -1
        return min(room, int((money - prompt) / each)) if each else room

    def _price(self, prompt_tokens: int, used: int, cached_tokens: int = 0) -> float:
        return self._prices.cost(prompt_tokens, used, cached_tokens) if self._prices else 0.0
