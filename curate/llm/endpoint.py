"""The seam to whatever answers questions: a model behind an API, or answers that were recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["steps", "dependencies", "leaks"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a talk. It is the model's own where a violation is held against its answer."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Query:
    """A question to a model, whole.

    `subject` is the key of the trajectory that it is about; it is for logs and recordings, and no part
    of what is asked. `attempt` is 1, and 2 where the first answer broke a rule. `version` is that of
    the prompt, which is part of a kept answer's key, so that a new prompt is asked anew. `schema` is the
    JSON schema of the answer.
    """

    kind: Kind
    subject: str
    attempt: int
    version: str
    messages: tuple[Message, ...]
    schema: Mapping[str, object]


class Endpoint(Protocol):
    """Answers queries."""

    async def ask(self, query: Query) -> str:
        """The answer's text, which should be JSON of the schema, but may be anything.

        Raises Dropped where the endpoint has no whole answer to this query, EndpointDown where it
        has none to any, and CostCeiling where the answer might cost more than what is left.
        """
        ...


class EndpointDown(Exception):
    """No query can be answered: no server at the address, a wrong key, no money, no such model.

    The run ends; what was answered is kept, and the same command goes on from there.
    """


class CostCeiling(Exception):
    """The next answer might cost more than is left of `--max-cost`. The run ends, to be gone on with."""
