"""The annotator: which queries it sends, and what it does after an answer that breaks a rule."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from curate.annotate.annotator import LlmAnnotator
from curate.drops import Dropped, Reason
from curate.llm.endpoint import EndpointDown, Message, Query
from curate.pack.leaks import Leak
from curate.trajectory import Component, Trajectory

pytestmark = pytest.mark.anyio

GIVEN = Trajectory("What is 6 * 7?", "I set it up. I compute 42. ", "42")
STEPS = json.dumps(
    {
        "components": [
            {"description": "", "plan": "1", "prompt": "", "execution": "", "comment": ""},
            {"description": "", "plan": "", "prompt": "Do it", "execution": "2", "comment": ""},
        ]
    }
)
NEEDS = json.dumps({"components": [{"number": 1, "parents": []}, {"number": 2, "parents": [1]}]})


class ScriptedEndpoint:
    """Gives its answers in order. An exception among them is raised."""

    def __init__(self, *answers: str | Exception) -> None:
        self.queries: list[Query] = []
        self._answers: Sequence[str | Exception] = answers

    async def ask(self, query: Query) -> str:
        self.queries.append(query)
        answer = self._answers[len(self.queries) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def asked(self) -> list[tuple[str, int]]:
        return [(query.kind, query.attempt) for query in self.queries]


async def test_it_asks_for_steps_and_then_for_dependencies() -> None:
    endpoint = ScriptedEndpoint(STEPS, NEEDS)
    annotated = await LlmAnnotator(endpoint).annotate(GIVEN)
    assert annotated.trajectory == GIVEN
    assert annotated.components == (
        Component(1, plan="I set it up. "),
        Component(2, prompt="Do it", execution="I compute 42. ", parents=frozenset({1})),
    )
    assert endpoint.asked == [("steps", 1), ("dependencies", 1)]
    assert {query.subject for query in endpoint.queries} == {GIVEN.key}


async def test_an_answer_that_breaks_a_rule_goes_back_once() -> None:
    bad = STEPS.replace('"1"', '"1-2"')
    endpoint = ScriptedEndpoint(bad, STEPS, NEEDS)
    await LlmAnnotator(endpoint).annotate(GIVEN)
    assert endpoint.asked == [("steps", 1), ("steps", 2), ("dependencies", 1)]
    first, second, _ = endpoint.queries
    assert second.messages[: len(first.messages)] == first.messages
    answer, violation = second.messages[len(first.messages) :]
    assert answer == Message("assistant", bad)
    assert "sentence 2 is in components 1 and 2" in violation.content


async def test_a_second_violation_drops_the_trajectory() -> None:
    endpoint = ScriptedEndpoint("no", '{"components": []}')
    with pytest.raises(Dropped) as caught:
        await LlmAnnotator(endpoint).annotate(GIVEN)
    assert caught.value.reason is Reason.MISSING
    assert endpoint.asked == [("steps", 1), ("steps", 2)]


@pytest.mark.parametrize("error", [Dropped(Reason.REFUSED, "no"), EndpointDown("no server")])
async def test_an_error_of_the_endpoint_is_raised_at_once(error: Exception) -> None:
    endpoint = ScriptedEndpoint(error)
    with pytest.raises(type(error)) as caught:
        await LlmAnnotator(endpoint).annotate(GIVEN)
    assert caught.value is error
    assert endpoint.asked == [("steps", 1)]


async def test_leaks_are_a_query_of_their_own() -> None:
    stages = ((Component(1), Component(2)),)
    endpoint = ScriptedEndpoint('{"uses": [{"component": 2, "of": 1, "value": "x"}]}')
    assert await LlmAnnotator(endpoint).leaks(GIVEN, stages) == (Leak(2, 1, "x"),)
    assert endpoint.asked == [("leaks", 1)]
