"""What the answers of models cost: the report of all kept answers, and a ceiling for new ones.

`CostReport` is the content of `cost.json`. `Ledger` counts one session and keeps it below a ceiling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import msgspec

from curate.llm.endpoint import CostCeiling
from sprint_agent.engine import TokenUsage
from sprint_agent.limits import Prices


@dataclass(frozen=True, slots=True)
class ModelAnswers:
    """The answers of one model that are kept, and their tokens."""

    count: int = 0
    """How many answers there are."""
    input: int = 0
    """Prompt tokens: those that the model read."""
    output: int = 0
    """Completion tokens: those that the model wrote."""


@dataclass(frozen=True, slots=True)
class CostReport:
    """What annotation has cost, in this session and in all earlier ones."""

    models: dict[str, ModelAnswers] = field(default_factory=dict[str, ModelAnswers])
    """The answers by the name of the model."""
    dollars: float | None = None
    """The cost of all answers. None if no prices were given."""

    @property
    def answers(self) -> int:
        """How many answers all models gave."""
        return sum(model.count for model in self.models.values())


def read_report(path: Path) -> CostReport | None:
    """Reads a `cost.json`. Returns None if there is no such file.

    Raises:
        ValueError: if the file is corrupt.
        OSError: if the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(data, type=CostReport)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
        raise ValueError(f"{path} is not a cost report ({cause})") from cause


@dataclass(frozen=True, slots=True)
class Spending:
    """What one session has sent and paid so far. Costs are in the currency of the prices."""

    requests: int = 0
    """All requests that were sent, the retries included."""
    retries: int = 0
    """Requests that were sent because an earlier try failed."""
    cached: int = 0
    """Answers that were taken from the cache, which cost nothing again."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Those of the `prompt_tokens` that the server had in its own cache."""
    completion_tokens: int = 0
    cost: float = 0.0
    """The cost of the answers."""
    lost: float = 0.0
    """The most that requests without an answer may cost: the provider may charge them all the same."""
    paid: float = 0.0
    """What earlier sessions paid or lost."""


class Ledger:
    """Keeps the cost of the answers below a ceiling.

    The most that a request can cost is reserved before the request is sent. When it has ended, what it
    did not cost becomes free again. The ceiling is that of one process: processes that share a cache
    have one ceiling each.

    Args:
        prices: the prices by model. Without any prices, everything costs nothing.
        ceiling: the most that may be spent, earlier sessions included. None for no ceiling.
        paid: what earlier sessions spent.
    """

    def __init__(
        self,
        prices: Mapping[str, Prices] | None = None,
        ceiling: float | None = None,
        paid: float = 0.0,
    ) -> None:
        self._prices = prices or {}
        self._ceiling = ceiling
        self._spending = Spending(paid=paid)
        self._reserved = 0.0
        self._running = 0
        self._ended = anyio.Event()

    @property
    def spending(self) -> Spending:
        """What was spent so far."""
        return self._spending

    @property
    def running(self) -> int:
        """The number of requests with a reservation that has not ended."""
        return self._running

    def check(self, model: str) -> None:
        """Checks that requests to a model can be priced.

        Raises:
            ValueError: if there is a ceiling or a price of another model, and no price of `model`.
        """
        if model in self._prices:
            return
        if self._ceiling is not None:
            raise ValueError(
                f"a ceiling on the cost needs the prices of {model}: give them, or remove the ceiling"
            )
        if self._prices:
            given = ", ".join(self._prices)
            raise ValueError(
                f"there are prices of {given}, but not of {model}: give these too, or no prices"
            )

    async def reserve(self, model: str, prompt_tokens: int, completion_tokens: int) -> float:
        """Reserves the most that a request with at most so many tokens can cost.

        Waits if the money is reserved by running requests: each of them may give some back.

        Returns:
            The amount, which `answered`, `refused` or `lost` gives back.

        Raises:
            CostCeiling: if the request could exceed the ceiling even after all running ones cost
                nothing.
        """
        amount = self._price(model, TokenUsage(prompt_tokens, completion_tokens))
        while self._ceiling is not None and self._spent + self._reserved + amount > self._ceiling:
            if self._spent + amount > self._ceiling:
                raise CostCeiling(
                    f"{self._spent:.2f} of {self._ceiling:.2f} are spent, and the next answer of "
                    f"{model} might cost {amount:.2f}: raise --max-cost, and run the same command again"
                )
            await self._ended.wait()
        self._running += 1
        self._reserved += amount
        self._add(requests=1)
        return amount

    def answered(self, reserved: float, model: str, usage: TokenUsage | None) -> float:
        """Ends a request that was answered.

        Returns:
            What the answer cost. This is the reserved amount if the server reports no usage.
        """
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
        """Ends a request that never reached a model: it costs nothing."""
        self._end(reserved)

    def lost(self, reserved: float) -> None:
        """Ends a request that was sent but never answered: it may be charged in full."""
        self._end(reserved)
        self._add(lost=reserved)

    def retried(self) -> None:
        """Counts a request that is about to be sent again."""
        self._add(retries=1)

    def cached(self) -> None:
        """Counts an answer that was taken from the cache."""
        self._add(cached=1)

    @property
    def _spent(self) -> float:
        return self._spending.paid + self._spending.cost + self._spending.lost

    def _price(self, model: str, usage: TokenUsage) -> float:
        prices = self._prices.get(model)
        if prices is None:
            return 0.0
        return prices.cost(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)

    def _end(self, reserved: float) -> None:
        self._running -= 1
        # Adding and subtracting floats leaves a rounding error. Without running requests nothing is
        # reserved, so that no request ever waits for such an error.
        self._reserved = self._reserved - reserved if self._running else 0.0
        self._ended.set()
        self._ended = anyio.Event()

    def _add(self, **amounts: float) -> None:
        now = self._spending
        self._spending = replace(
            now, **{name: getattr(now, name) + amounts[name] for name in amounts}
        )
