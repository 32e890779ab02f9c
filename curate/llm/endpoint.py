"""The interface to whatever answers queries: a model served by an API, or a file of recorded answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["steps", "dependencies", "leaks"]
"""What a query asks about."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    The role is "assistant" if a rule violation is reported back: the message is then the model's
    answer.
    """

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Query:
    """A complete question to a model."""

    kind: Kind
    subject: str
    """The key of the trajectory that the query is about. It is used in logs and recordings, not sent."""
    attempt: int
    """1, or 2 if the first answer broke a rule."""
    version: str
    """The version of the prompt. It is part of the cache's key, so that a new prompt is asked again."""
    messages: tuple[Message, ...]
    schema: Mapping[str, object]
    """The JSON schema of the answer."""


class Endpoint(Protocol):
    """Answers queries."""

    async def ask(self, query: Query) -> str:
        """Returns the answer's text. It should be JSON of the query's schema, but may be anything.

        Raises:
            Dropped: if there is no complete answer to this query.
            EndpointDown: if no query can be answered.
            CostCeiling: if the answer might cost more than what is left of the budget.
        """
        ...


class EndpointDown(Exception):
    """No query can be answered: no server at the address, a wrong key, no money, or no such model.

    This ends the run. The answers so far are kept, and the same command resumes the run.
    """


class CostCeiling(Exception):
    """The next answer might cost more than what is left of `--max-cost`.

    This ends the run. The same command with a higher ceiling resumes it.
    """
