"""What was heard of each model: whether it is the query that failed, or the endpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

import anyio

from curate.drops import Dropped, Reason
from curate.llm.endpoint import EndpointDown
from curate.llm.errors import Failed

IN_A_ROW = 16
"""Queries that fail with no answer in between: by then it is the endpoint that does."""


class Heard:
    """Who has answered, and how many queries failed since.

    A rejection is held back while other queries are under way and nothing was heard: an answer to one
    of them says that it was about its prompt, and where all are rejected it is about everybody's.
    """

    def __init__(self) -> None:
        self._answered: set[str] = set()
        self._kept: set[str] = set()
        self._failed: Counter[str] = Counter()
        self._under_way = 0
        self._held_back = 0
        self._news = anyio.Event()

    def answered(self, model: str) -> None:
        """A query was answered."""
        self._failed[model] = 0
        if model not in self._answered:
            self._answered.add(model)
            self._tell()

    def kept(self, model: str) -> None:
        """An answer to an equal request was kept by an earlier session, or by this one."""
        if model not in self._kept:
            self._kept.add(model)
            self._tell()

    @contextmanager
    def asking(self) -> Generator[None]:
        """A query is under way."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._tell()

    async def outcome(self, model: str, failed: Failed) -> Dropped | EndpointDown:
        """What a query to `model` ends with whose last try failed."""
        why = failed.outcome
        if isinstance(why, EndpointDown):
            return why
        if why.reason in (Reason.BUSY, Reason.FAILED):
            self._failed[model] += 1
            if self._failed[model] >= IN_A_ROW:
                return EndpointDown(
                    f"{IN_A_ROW} queries to {model} failed one after the other: {why.detail}; run the "
                    "same command again when the server is well"
                )
        elif failed.anybodys and not await self._answers_others(model, why.reason):
            return EndpointDown(
                f"{why.detail}; {model} has answered nothing so far: check its name, its key and "
                "max_tokens"
            )
        return why

    async def _answers_others(self, model: str, reason: Reason) -> bool:
        """Waits until that is known. Whoever is forbidden now may have been allowed it when kept."""
        self._held_back += 1
        try:
            while model not in self._answered and (
                reason is Reason.REFUSED or model not in self._kept
            ):
                if self._held_back == self._under_way:
                    return False
                await self._news.wait()
            return True
        finally:
            self._held_back -= 1

    def _tell(self) -> None:
        if self._held_back:
            self._news.set()
            self._news = anyio.Event()
