"""Answers from a file: read back by query, and recorded from another endpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.drops import Dropped, Reason
from curate.llm.recorded import RecordedEndpoint, RecordingEndpoint
from tests.unit.curate.llm_kit import query


def line(answer: object, subject: str = "s", kind: str = "steps", attempt: int = 1) -> str:
    facts = {"subject": subject, "kind": kind, "attempt": attempt, "answer": answer}
    return json.dumps(facts) + "\n"


@pytest.mark.anyio
class TestRecordedEndpoint:
    async def test_texts_and_objects(self, tmp_path: Path) -> None:
        path = tmp_path / "answers.jsonl"
        path.write_text(line("so") + "\n" + line({"a": [1]}, kind="leaks") + line("2", attempt=2))
        recorded = RecordedEndpoint(path)
        assert await recorded.ask(query()) == "so"
        assert await recorded.ask(query(attempt=2)) == "2"
        assert json.loads(await recorded.ask(query(kind="leaks"))) == {"a": [1]}

    async def test_a_query_without_an_answer_is_dropped(self, tmp_path: Path) -> None:
        path = tmp_path / "answers.jsonl"
        path.write_text(line("so"))
        for other in (query(subject="t"), query(attempt=2), query(kind="leaks")):
            with pytest.raises(Dropped, match="no recorded answer") as caught:
                await RecordedEndpoint(path).ask(other)
            assert caught.value.reason is Reason.REJECTED

    @pytest.mark.parametrize(
        "bad", ["{", "[1]", "7", '{"subject": "s"}', line(7), line(None), "[" * 100_000]
    )
    async def test_a_corrupt_line_is_named(self, bad: str, tmp_path: Path) -> None:
        path = tmp_path / "answers.jsonl"
        path.write_text(line("so") + bad)
        with pytest.raises(ValueError, match=r"answers\.jsonl:2"):
            RecordedEndpoint(path)

    @pytest.mark.parametrize(
        "answer", ["so", '{"a":  [1]}', "[1]", "7", '{"a": NaN}', "{", "\ud800☃", ""]
    )
    async def test_what_is_recorded_is_answered_later(self, answer: str, tmp_path: Path) -> None:
        class Model:
            async def ask(self, query: object) -> str:
                return answer

        path = tmp_path / "answers.jsonl"
        for subject in "ab":
            with RecordingEndpoint(Model(), path) as recorder:
                assert await recorder.ask(query(subject=subject)) == answer
        stored = json.loads(path.read_text().splitlines()[1])["answer"]
        assert stored == ({"a": [1]} if "[1]}" in answer else answer)
        again = await RecordedEndpoint(path).ask(query(subject="b"))
        assert again == answer or json.loads(again) == json.loads(answer)

    async def test_the_later_of_two_answers_counts(self, tmp_path: Path) -> None:
        path = tmp_path / "answers.jsonl"
        path.write_text(line("first") + line("second"))
        assert await RecordedEndpoint(path).ask(query()) == "second"

    async def test_a_dropped_query_is_not_recorded(self, tmp_path: Path) -> None:
        class Model:
            async def ask(self, query: object) -> str:
                raise Dropped(Reason.REFUSED, "no")

        path = tmp_path / "answers.jsonl"
        with RecordingEndpoint(Model(), path) as recorder, pytest.raises(Dropped):
            await recorder.ask(query())
        assert path.read_text() == ""
