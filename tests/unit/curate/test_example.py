"""The example: its answers follow the rules, and show what its README says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from curate.annotate.annotator import LlmAnnotator
from curate.candidate import Candidate
from curate.drops import Dropped, Reason
from curate.llm.endpoint import Query
from curate.pack.leak_free import Packing, pack_leak_free
from curate.pack.leaks import Leak
from curate.pack.values import values
from curate.select import measure
from curate.split.sentences import sentences
from curate.trajectory import Annotated, Trajectory
from sprint_agent.protocol import tags

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[3] / "examples" / "curation"
TRAJECTORIES = [
    Trajectory(**json.loads(line))
    for line in (EXAMPLE / "trajectories.jsonl").read_text(encoding="utf-8").splitlines()
]
ANSWERS = [
    json.loads(line)
    for line in (EXAMPLE / "annotations.jsonl").read_text(encoding="utf-8").splitlines()
]

SHAPES = {
    "four-digit": (5, 0),
    "incenter": (2, 4, 2, 0),
    "real numbers": (2, 3, 2, 1, 0),
    "385": (3, 3, 2, 0),
    "marbles": (6, 2, 0),
    "fence": (5, 1),
    "knave": (3, 4, 2, 0),
    "Veldhaven": (6, 2, 0),
    "Python": (4, 3, 0),
    "coffee": (4, 3, 0),
    "make 139": (3, 3, 0),
    "sequence": (1, 1, 1, 1, 0),
}
"""The number of executions of each stage, by a word in the question."""
SEQUENTIAL, OVERLAPPING, LEAKING = "sequence", "marbles", "coffee"
FORWARD, WRONG = "rectangles", "books"
"""The trajectory with dependencies on later steps, and the one with a wrong answer."""


class Replies:
    """An endpoint with the recorded answers."""

    def __init__(self) -> None:
        self.asked: list[Query] = []

    async def ask(self, query: Query) -> str:
        self.asked.append(query)
        key = (query.subject, query.kind, query.attempt)
        (found,) = (a["answer"] for a in ANSWERS if (a["subject"], a["kind"], a["attempt"]) == key)
        return json.dumps(found)


def example(word: str) -> Trajectory:
    (found,) = (t for t in TRAJECTORIES if word in t.question)
    return found


def numbers(text: str) -> set[str]:
    return {value.key for value in values(text) if value.key.startswith("number")}


async def annotated(word: str) -> Annotated:
    return await LlmAnnotator(Replies()).annotate(example(word))


def test_each_is_of_a_length_and_ends_in_its_answer() -> None:
    assert len(TRAJECTORIES) == len(SHAPES) + 2
    for given in TRAJECTORIES:
        assert 20 <= len(sentences(given.text)) <= 60
        right = tags.boxed(given.text) == given.answer
        assert right != (given == example(WRONG))


def test_every_answer_is_to_a_question_that_is_asked() -> None:
    keys = Counter((a["subject"], a["kind"], a["attempt"]) for a in ANSWERS)
    expected = [(example(w).key, kind, 1) for w in SHAPES for kind in ("steps", "dependencies")]
    expected += [(example(FORWARD).key, kind, 1) for kind in ("steps", "dependencies")]
    expected += [(example(OVERLAPPING).key, "steps", 2), (example(FORWARD).key, "dependencies", 2)]
    assert keys == Counter(expected)


@pytest.mark.parametrize("word", SHAPES)
async def test_only_the_overlapping_one_is_asked_twice(word: str) -> None:
    endpoint = Replies()
    await LlmAnnotator(endpoint).annotate(example(word))
    again = [query.messages[-1].content for query in endpoint.asked if query.attempt > 1]
    assert len(again) == (word == OVERLAPPING)
    assert all("is in components 6 and 7" in message for message in again)


async def test_an_edge_that_points_forward_twice_is_the_end() -> None:
    with pytest.raises(Dropped) as dropped:
        await annotated(FORWARD)
    assert dropped.value.reason is Reason.CYCLE


@pytest.mark.parametrize("word", SHAPES)
async def test_components_begin_with_paragraphs(word: str) -> None:
    """This detects a splitter that counts differently, although its ranges would cover all text too."""
    found = await annotated(word)
    paragraphs = {p.strip() for p in found.trajectory.text.split("\n\n")}
    for component in found.components:
        first = (component.plan or component.execution).split("\n\n")[0].strip()
        assert any(paragraph.startswith(first) for paragraph in paragraphs)


@pytest.mark.parametrize("word", SHAPES)
async def test_no_prompt_gives_away_what_comes_out(word: str) -> None:
    found = await annotated(word)
    known = numbers(found.trajectory.question)
    for component in found.components:
        known |= numbers(component.plan)
        assert not (numbers(component.prompt) - known) & numbers(component.execution)
        known |= numbers(component.execution + component.comment)


@pytest.mark.parametrize("word", SHAPES)
async def test_its_stages(word: str) -> None:
    found = measure(
        Candidate(await pack_leak_free(await annotated(word), Packing())).transcript, len
    )
    assert found.prompts == SHAPES[word]
    assert (found.executions_ratio < 1.5) == (word == SEQUENTIAL)


@pytest.mark.parametrize("word", SHAPES)
async def test_the_leak_check_finds_the_missing_edges_and_no_others(word: str) -> None:
    before = await annotated(word)
    found = await pack_leak_free(before, Packing())
    assert found.leaks == ((Leak(6, 2, "250"), Leak(6, 3, "340")) if word == LEAKING else ())
    if word == LEAKING:
        assert before.components[5].parents == frozenset()
        assert found.annotated.components[5].parents == {2, 3}
        assert [c.number for c in found.stages[0] if c.prompt] == [2, 3, 4, 5]
