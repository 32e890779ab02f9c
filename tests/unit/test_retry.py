"""What is sent again, when, and what it costs."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from sprint_agent import EngineError, Limits, Sprint, events, retry
from sprint_agent.testing import Reply, ScriptedEngine
from tests.script import answer, execution_of, plan

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def full(after: float | None = None) -> EngineError:
    return EngineError("full", transient=True, retry_after=after)


class TestRules:
    def test_only_what_is_transient_is_sent_again(self) -> None:
        assert retry.pause(EngineError("no"), 1, math.inf, 0) is None

    def test_three_tries_in_all(self) -> None:
        pauses = [retry.pause(full(), tries, math.inf, 0) for tries in (1, 2, 3)]
        assert pauses == [0.25, 0.5, None]

    def test_whoever_has_more_patience_says_so(self) -> None:
        pauses = [retry.pause(full(), tries, math.inf, 0, most=6) for tries in (3, 5, 6)]
        assert pauses == [1.0, 4.0, None]
        assert retry.pause(full(120), 1, math.inf, 0, longest=900) == 120
        assert retry.pause(full(901), 1, math.inf, 0, longest=900) is None

    def test_pauses_are_spread(self) -> None:
        assert retry.pause(full(), 1, math.inf, 1.0) == 0.5

    @pytest.mark.parametrize(
        ("after", "left", "expected"),
        [(7, math.inf, 7), (60, math.inf, 60), (61, math.inf, None), (7, 6.9, None), (0, 0.1, 0)],
    )
    def test_a_server_that_says_when_is_taken_at_its_word(
        self, after: float, left: float, expected: float | None
    ) -> None:
        assert retry.pause(full(after), 1, left, 1.0) == expected

    def test_no_pause_outlasts_the_deadline(self) -> None:
        assert retry.pause(full(), 1, 0.2, 0) is None

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_these_are_transient(self, status: int) -> None:
        assert retry.is_transient(status)

    @pytest.mark.parametrize("status", [200, 400, 401, 404, 422])
    def test_these_are_not(self, status: int) -> None:
        assert not retry.is_transient(status)

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            (None, None),
            ("7", 7),
            ("0.5", 0.5),
            ("-3", 0),
            ("Sun, 22 Nov 2026 12:00:30 GMT", 30),
            ("Sun, 22 Nov 2026 11:59:00 GMT", 0),
            ("soon", None),
        ],
    )
    def test_retry_after_is_a_number_or_a_date(
        self, header: str | None, seconds: float | None
    ) -> None:
        assert retry.read_retry_after(header, NOW) == seconds


class Failing:
    """The first answers of a kind break off after `said`; then all goes well."""

    def __init__(self, kind: str, failures: int, said: str, error: EngineError) -> None:
        self.kind = kind
        self.failures = failures
        self.said = said
        self.error = error

    def __call__(self, prompt: str) -> Reply | str:
        at = execution_of(prompt)
        if (at is None) == (self.kind == "planner") and self.failures:
            self.failures -= 1
            return Reply(self.said, error=self.error)
        if at is not None:
            return f"did {at[0]}.{at[1]}\n</execution_"
        if "</Execution_1>" in prompt:
            return answer("3")
        whole = plan("one", "two")
        _, _, written = prompt.partition("<think>\n")
        assert whole.startswith(written)
        return whole[len(written) :]


@pytest.mark.anyio
class TestRuns:
    async def test_an_execution_that_broke_off_is_generated_anew(self) -> None:
        engine = ScriptedEngine(Failing("executor", 1, "did 1.1\nhal", full(0)))
        result = await Sprint(engine).solve("What?")
        assert [e.text for e in result.stages[0].executions] == ["did 1.1\n", "did 1.2\n"]
        assert {e.status for e in result.stages[0].executions} == {"done"}

    async def test_what_a_failed_try_wrote_is_counted(self) -> None:
        whole = await Sprint(ScriptedEngine(Failing("executor", 0, "", full(0)))).solve("What?")
        engine = ScriptedEngine(Failing("executor", 1, "12345", full(0)))
        result = await Sprint(engine).solve("What?")
        assert result.usage.completion_tokens == whole.usage.completion_tokens + 5

    async def test_a_plan_that_broke_off_goes_on_behind_its_last_prompt(self) -> None:
        text = plan("one", "two")
        for cut in range(1, len(text)):
            engine = ScriptedEngine(Failing("planner", 1, text[:cut], full(0)))
            async with Sprint(engine).stream("What?") as run:
                seen = [event async for event in run]
            result = await run.result()
            assert result.answer == "3"
            # The stop is not part of the plan: one that breaks off inside it is whole.
            assert [p.text for p in result.stages[0].prompts] == ["one", "two"]
            ready = [e.number for e in seen if isinstance(e, events.PromptReady)]
            assert ready == [1, 2]

    async def test_the_third_failure_is_final(self) -> None:
        engine = ScriptedEngine(Failing("planner", 3, "", full(0)))
        with pytest.raises(EngineError, match="full"):
            await Sprint(engine).solve("What?")
        assert len(engine.requests) == 3
        assert len({request.request_id for request in engine.requests}) == 3

    async def test_of_an_execution_it_is_a_failed_execution(self) -> None:
        engine = ScriptedEngine(Failing("executor", 3, "", full(0)))
        result = await Sprint(engine, limits=Limits(concurrency=1)).solve("What?")
        first, second = result.stages[0].executions
        assert (first.status, second.status) == ("failed", "done")
        assert result.answer == "3"
