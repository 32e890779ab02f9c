"""Shared by the tests of the LLM client: queries, and a client connected to a server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from curate.drops import Dropped, Reason
from curate.llm.cache import Cache
from curate.llm.client import Client
from curate.llm.cost import Ledger, Spending
from curate.llm.endpoint import Kind, Message, Query
from sprint_agent import retry
from sprint_agent.testing import FaultServer

SCHEMA = {"type": "object", "properties": {"steps": {"type": "array"}}}
MODELS: dict[Kind, str] = {"steps": "large", "dependencies": "small", "leaks": "small"}


def query(text: str = "Q", **fields: Any) -> Query:
    messages = (Message("system", "be exact"), Message("user", text))
    given: dict[str, Any] = {
        "kind": "steps",
        "subject": "s",
        "attempt": 1,
        "version": "1",
        "messages": messages,
        "schema": SCHEMA,
    }
    return Query(**given | fields)


@dataclass(frozen=True)
class Asker:
    """A client with its cache and its ledger."""

    client: Client
    cache: Cache
    ledger: Ledger

    async def ask(self, text: str = "Q", **fields: Any) -> str:
        return await self.client.ask(query(text, **fields))

    async def reason(self, text: str = "Q", **fields: Any) -> Reason:
        """Returns the reason for which a query is dropped."""
        with pytest.raises(Dropped) as caught:
            await self.ask(text, **fields)
        return caught.value.reason

    @property
    def spending(self) -> Spending:
        return self.ledger.spending


@asynccontextmanager
async def asking(
    server: FaultServer | str,
    *,
    cache: Cache | None = None,
    ledger: Ledger | None = None,
    **options: Any,
) -> AsyncIterator[Asker]:
    url = server if isinstance(server, str) else f"{server.url}/v1"
    cache, ledger = cache or Cache(":memory:"), ledger or Ledger()
    async with Client(url, "k", MODELS, cache=cache, ledger=ledger, **options) as client:
        yield Asker(client, cache, ledger)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the pauses short, except those that the server asks for."""
    monkeypatch.setattr(retry, "_FIRST_WAIT", 0.001)
