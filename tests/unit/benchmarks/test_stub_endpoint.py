"""The stub endpoint answers the LLM client and logs each request and each answer."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import anyio
import pytest

from benchmarks import cases
from benchmarks.curation import stub
from benchmarks.stub_endpoint import completion
from curate.annotate import replies
from curate.annotate.annotator import LlmAnnotator
from curate.llm.client import Client
from curate.split.sentences import numbered, sentences
from curate.trajectory import Annotated, Trajectory
from tests.unit.curate.llm_kit import asking


@pytest.mark.anyio
async def test_each_request_is_logged_when_it_arrives_and_when_it_is_answered(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    trajectories = list(cases.trajectories(8))
    annotated: list[Annotated] = []
    with stub(0.01, log) as url:
        # The cache is new each time, so each request is sent twice.
        for _ in range(2):
            async with asking(url, concurrency=3) as asker, anyio.create_task_group() as group:

                async def ask(one: Trajectory, client: Client = asker.client) -> None:
                    annotated.append(await LlmAnnotator(client).annotate(one))

                for one in trajectories:
                    group.start_soon(ask, one)
    assert {one.trajectory for one in annotated} == set(trajectories)
    signs = Counter(tuple(line.split()) for line in log.read_text().splitlines())
    assert len(signs) == 32
    assert set(signs.values()) == {2}
    assert {digest for sign, digest in signs if sign == "+"} == {
        digest for sign, digest in signs if sign == "-"
    }


def test_a_good_annotator_finds_the_cases() -> None:
    (one,) = cases.trajectories(1)
    pieces = sentences(one.text)
    text = f"The problem:\n\n{numbered(pieces)}"
    components = replies.components(json.dumps(cases.answer("steps", text)), pieces)
    prompted = [bool(component.prompt) for component in components]
    assert prompted == [False, *[True] * (len(components) - 2), False]
    assert one.answer in components[-1].plan


def test_a_body_that_is_not_a_query_is_refused() -> None:
    for body in (b"{", b"{}", b"[]", b'{"messages": []}'):
        status, response = completion(body, lambda kind, text: {})
        assert status == 400
        assert "bad request" in json.loads(response)["error"]["message"]
