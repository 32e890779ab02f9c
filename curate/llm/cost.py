"""What answers cost, and a ceiling that they keep below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import anyio

from curate.llm.endpoint import CostCeiling
from sprint_agent.engine import TokenUsage
from sprint_agent.limits import Prices


@dataclass(frozen=True, slots=True)
class Figures:
    """What was asked so far, in this session; costs in the currency of the prices.

    `requests` are all that were sent, `retries` of them again; `cached` are answers that were kept,
    which cost nothing again. `cached_tokens` are among the `prompt_tokens`. `cost` is that of the
    answers, `lost` at most that of requests whose answer never came, which may be charged all the
    same, and `paid` what earlier sessions paid, or lost.
    """

    requests: int = 0
    retries: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    lost: float = 0.0
    paid: float = 0.0


class Ledger:
    """Keeps what answers cost below `ceiling`, together with what was `paid` before.

    The most that a request can cost is reserved before it is sent, and what it did not cost is free
    again when it has ended. `prices` are by model. The ceiling is that of one process: others that
    share its cache have their own.
    """

    def __init__(
        self,
        prices: Mapping[str, Prices] | None = None,
        ceiling: float | None = None,
        paid: float = 0.0,
    ) -> None:
        self._prices = prices or {}
        self._ceiling = ceiling
        self._figures = Figures(paid=paid)
        self._reserved = 0.0
        self._under_way = 0
        self._ended = anyio.Event()

    @property
    def figures(self) -> Figures:
        """What was asked so far."""
        return self._figures

    def check(self, model: str) -> None:
        """Raises ValueError where there is a ceiling, and no price of `model`."""
        if self._ceiling is not None and model not in self._prices:
            raise ValueError(f"a ceiling on cost needs the prices of {model}")

    async def reserve(self, model: str, prompt_tokens: int, completion_tokens: int) -> float:
        """Reserves the most that a request can cost, which has at most so many tokens.

        Returns how much; `answered`, `refused` or `lost` gives it back. Where it does not fit beside
        what is under way, it waits until enough of that has ended. Raises CostCeiling where it does
        not fit beside what is spent.
        """
        wanted = self._price(model, TokenUsage(prompt_tokens, completion_tokens))
        while self._ceiling is not None and self._spent + self._reserved + wanted > self._ceiling:
            if self._spent + wanted > self._ceiling:
                raise CostCeiling(
                    f"{self._spent:.2f} of {self._ceiling:.2f} are spent, and the next answer of "
                    f"{model} might cost {wanted:.2f}"
                )
            await self._ended.wait()
        self._under_way += 1
        self._reserved += wanted
        self._add(requests=1)
        return wanted

    def answered(self, reserved: float, model: str, usage: TokenUsage | None) -> float:
        """A request was answered. Returns what that cost: what was reserved, where nobody says."""
        self._end(reserved)
        if usage is None:
            self._add(cost=reserved)
            return reserved
        cost = self._price(model, usage)
        self._add(
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
            cost=cost,
        )
        return cost

    def refused(self, reserved: float) -> None:
        """A request never reached a model: it costs nothing."""
        self._end(reserved)

    def lost(self, reserved: float) -> None:
        """A request was sent, and its answer never came: it may be charged in full."""
        self._end(reserved)
        self._add(lost=reserved)

    def retried(self) -> None:
        """A request is sent once more."""
        self._add(retries=1)

    def cached(self) -> None:
        """An answer was there already."""
        self._add(cached=1)

    @property
    def _spent(self) -> float:
        return self._figures.paid + self._figures.cost + self._figures.lost

    def _price(self, model: str, usage: TokenUsage) -> float:
        prices = self._prices.get(model)
        if prices is None:
            return 0.0
        return prices.cost(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)

    def _end(self, reserved: float) -> None:
        self._under_way -= 1
        # Sums of fractions leave crumbs, for which nobody should ever wait.
        self._reserved = self._reserved - reserved if self._under_way else 0.0
        self._ended.set()
        self._ended = anyio.Event()

    def _add(self, **more: float) -> None:
        have = self._figures
        self._figures = replace(have, **{name: getattr(have, name) + more[name] for name in more})
