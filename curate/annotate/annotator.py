"""The annotator that asks a model: first for the steps of a trajectory, then for their dependencies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from curate.annotate import prompts, replies
from curate.drops import Dropped
from curate.llm.endpoint import Endpoint, Query
from curate.pack.leaks import Leak
from curate.split.sentences import sentences
from curate.trajectory import Annotated, Component, Trajectory

_Parsed = TypeVar("_Parsed")


class LlmAnnotator:
    """Annotates a trajectory by two queries to `endpoint` (section 4 of the paper).

    If an answer breaks a rule, the model gets it back once, together with the rule.

    All methods raise the errors of `endpoint`, and:

    Raises:
        Dropped: if the second answer breaks a rule as well.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def annotate(self, given: Trajectory) -> Annotated:
        """Returns the trajectory with its components and their dependencies."""
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
        """Returns what components use of their siblings. This takes a third query."""
        return await self._ask(
            prompts.leaks(given, stages), lambda answer: replies.leaks(answer, stages)
        )

    async def _ask(self, query: Query, parse: Callable[[str], _Parsed]) -> _Parsed:
        answer = await self._endpoint.ask(query)
        try:
            return parse(answer)
        except Dropped as violation:
            corrected = prompts.again(query, answer, violation.detail)
        return parse(await self._endpoint.ask(corrected))
