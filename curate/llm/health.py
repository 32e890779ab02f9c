"""Whether a failed query is the query's fault or the endpoint's, judged by what each model answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

import anyio

from curate.drops import Dropped, Reason
from curate.llm.endpoint import EndpointDown
from curate.llm.errors import RequestFailed

IN_A_ROW = 16
"""After so many failed queries without an answer in between, the endpoint is considered down."""


class EndpointHealth:
    """Which models have answered, and how many queries failed since.

    A rejection is not reported at once if the model has not answered yet and other queries are running.
    If one of these is answered, the rejection was about its own prompt. If all of them are rejected,
    the cause affects every query.
    """

    def __init__(self) -> None:
        self._answered: set[str] = set()
        self._kept: set[str] = set()
        self._failed_in_a_row: Counter[str] = Counter()
        self._running = 0
        self._undecided = 0
        self._changed = anyio.Event()

    def answered(self, model: str) -> None:
        """Records that a model answered a query."""
        self._failed_in_a_row[model] = 0
        if model not in self._answered:
            self._answered.add(model)
            self._notify()

    def kept(self, model: str) -> None:
        """Records that an answer was in the cache: the model answered in this or an earlier session."""
        if model not in self._kept:
            self._kept.add(model)
            self._notify()

    @contextmanager
    def running(self) -> Generator[None]:
        """Counts a query as running for as long as the block lasts."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._notify()

    async def outcome(self, model: str, failed: RequestFailed) -> Dropped | EndpointDown:
        """Returns the error that ends a query to `model`, whose last try is `failed`."""
        outcome = failed.outcome
        if isinstance(outcome, EndpointDown):
            return outcome
        if outcome.reason in (Reason.BUSY, Reason.FAILED):
            self._failed_in_a_row[model] += 1
            if self._failed_in_a_row[model] >= IN_A_ROW:
                return EndpointDown(
                    f"{IN_A_ROW} queries to {model} failed in a row: {outcome.detail}; run the same "
                    "command again when the server has recovered"
                )
        elif failed.endpoint_wide and not await self._answers_others(model, outcome.reason):
            return EndpointDown(
                f"{outcome.detail}; {model} has answered nothing so far: check the model's name, the "
                "API key and --max-tokens"
            )
        return outcome

    async def _answers_others(self, model: str, reason: Reason) -> bool:
        """Waits until it is known whether the model answers other queries.

        An answer in the cache does not count if the model refused: the key may have lost the permission
        that it had when the answer was kept.
        """
        self._undecided += 1
        try:
            while model not in self._answered and (
                reason is Reason.REFUSED or model not in self._kept
            ):
                if self._undecided == self._running:
                    return False
                await self._changed.wait()
            return True
        finally:
            self._undecided -= 1

    def _notify(self) -> None:
        if self._undecided:
            self._changed.set()
            self._changed = anyio.Event()
