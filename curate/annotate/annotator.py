"""The annotator that asks a model: first for a trajectory's steps, then for their dependencies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from curate.annotate import prompts, replies
from curate.drops import Dropped
from curate.llm.endpoint import Endpoint, Query
from curate.pack.leaks import Leak
from curate.split.sentences import sentences
from curate.trajectory import Annotated, Component, Trajectory

_Read = TypeVar("_Read")


class LlmAnnotator:
    """Annotates by two questions to `endpoint` (the paper, section 4).

    An answer that breaks a rule goes back to the model once, with the rule. Raises Dropped where it
    breaks one again, and what `endpoint` raises.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def annotate(self, given: Trajectory) -> Annotated:
        """The components of a trajectory, with their dependencies."""
        pieces = sentences(given.text)
        steps = await self._ask(
            prompts.steps(given, pieces), lambda answer: replies.components(answer, pieces)
        )
        related = await self._ask(
            prompts.dependencies(given, steps), lambda answer: replies.with_parents(answer, steps)
        )
        return Annotated(given, related)

    async def leaks(
        self, given: Trajectory, stages: Sequence[Sequence[Component]]
    ) -> tuple[Leak, ...]:
        """What components use of their siblings, by a third question."""
        return await self._ask(
            prompts.leaks(given, stages), lambda answer: replies.leaks(answer, stages)
        )

    async def _ask(self, query: Query, read: Callable[[str], _Read]) -> _Read:
        answer = await self._endpoint.ask(query)
        try:
            return read(answer)
        except Dropped as violation:
            corrected = prompts.again(query, answer, violation.detail)
        return read(await self._endpoint.ask(corrected))
