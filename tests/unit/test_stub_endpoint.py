"""The stub endpoint answers the LLM client, and its log tells what was asked and what was answered."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import anyio
import pytest

from benchmarks.endpoint_rate import query, stub
from benchmarks.stub_endpoint import completion
from curate.llm.client import Client
from tests.unit.llm_kit import asking


@pytest.mark.anyio
async def test_each_query_is_noted_when_it_came_and_when_it_was_answered(tmp_path: Path) -> None:
    log = tmp_path / "log"
    answers: list[str] = []
    with stub(0.01, log) as url:
        # A new cache each time: all are asked twice.
        for _ in range(2):
            async with asking(url, concurrency=3) as asker, anyio.create_task_group() as group:

                async def ask(number: int, client: Client = asker.client) -> None:
                    answers.append(await client.ask(query(number)))

                for number in range(8):
                    group.start_soon(ask, number)
    # The query's sentences are numbered from 0.
    assert [json.loads(answer) for answer in answers] == [{"steps": list(range(60))}] * 16
    signs = Counter(tuple(line.split()) for line in log.read_text().splitlines())
    assert len(signs) == 16
    assert set(signs.values()) == {2}
    assert {digest for sign, digest in signs if sign == "+"} == {
        digest for sign, digest in signs if sign == "-"
    }


def test_what_is_no_query() -> None:
    for body in (b"{", b"{}", b"[]", b'{"messages": []}'):
        status, said = completion(body, lambda kind, text: {})
        assert status == 400
        assert "bad request" in json.loads(said)["error"]["message"]
