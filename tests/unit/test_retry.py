"""What is sent again, when, and what it costs."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprint_agent import EngineError, Limits, Sprint, events, retry
from sprint_agent.testing import Reply, ScriptedEngine
from tests.script import answer, execution_of, plan

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def full(after: float | None = None) -> EngineError:
    return EngineError("full", transient=True, retry_after=after)


class TestRules:
    def test_only_what_is_transient_is_sent_again(self) -> None:
        assert retry.pause(EngineError("no"), 1, math.inf, 0) is None
        assert retry.pause(EngineError("no", retry_after=1), 1, math.inf, 0) is None

    def test_three_tries_in_all(self) -> None:
        pauses = [retry.pause(full(), tries, math.inf, 0) for tries in (1, 2, 3, 4)]
        assert pauses == [0.25, 0.5, None, None]

    def test_the_number_of_tries_and_the_longest_wait_can_be_raised(self) -> None:
        pauses = [retry.pause(full(), tries, math.inf, 0, most=6) for tries in (3, 5, 6)]
        assert pauses == [1.0, 4.0, None]
        assert retry.pause(full(120), 1, math.inf, 0, longest=900) == 120
        assert retry.pause(full(901), 1, math.inf, 0, longest=900) is None

    def test_pauses_are_spread(self) -> None:
        assert retry.pause(full(), 1, math.inf, 1.0) == 0.5
        assert retry.pause(full(), 2, math.inf, 0.5) == 0.75

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
        assert retry.pause(full(), 1, 0.25, 0) == 0.25

    def test_no_pause_is_longer_than_the_longest_wait(self) -> None:
        assert retry.pause(full(), 9, math.inf, 0, most=20) is None
        assert retry.pause(full(), 8, math.inf, 0, most=20) == 32

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 529])
    def test_these_are_transient(self, status: int) -> None:
        assert retry.is_transient(status)

    @pytest.mark.parametrize("status", [200, 400, 401, 404, 407, 409, 422, 424, 426, 428, 430, 499])
    def test_these_are_not(self, status: int) -> None:
        assert not retry.is_transient(status)

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            (None, None),
            ("7", 7),
            ("0.5", 0.5),
            ("-3", 0),
            ("nan", 0),
            ("Sun, 22 Nov 2026 12:00:30 GMT", 30),
            ("Sun, 22 Nov 2026 11:59:00 GMT", 0),
            ("Sun, 22 Nov 2026 12:00:30", 30),
            ("Sun, 22 Nov 2026 12:00:30 -0000", 30),
            ("Sun, 22 Nov 2026 13:00:30 +0100", 30),
            ("2s", 2),
            ("0s", 0),
            ("1m30.5s", 90.5),
            ("20ms", 0.02),
            ("1h 2m", 3720),
            ("2026-11-22T12:00:30Z", 30),
            ("2026-11-22T12:00:30", 30),
            ("1795348805", 5),
            ("1795348805000", 5),
            ("Mon, 01 Jan 0001 00:00:00 +2359", 0),
            ("Sun, 22 Nov 2026 12:00:30 +99999999999", None),
            (",", None),
            ("soon", None),
            ("", None),
            ("Sun, 22 Nov 99999999999999999999 12:00:30 GMT", None),
        ],
    )
    def test_retry_after_is_a_number_or_a_date(
        self, header: str | None, seconds: float | None
    ) -> None:
        assert retry.read_retry_after(header, NOW) == seconds

    @given(st.text("0123456789 :,+-/.TZsmhdGMTSunNovJa\u0661\0", max_size=40))
    def test_no_header_is_an_error(self, header: str) -> None:
        wait = retry.read_retry_after(header, NOW)
        assert wait is None or wait >= 0

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({}, None),
            ({"Retry-After": "7", "x-ratelimit-reset": "9"}, 7),
            ({"retry-after-ms": "2000", "retry-after": "7"}, 2),
            ({"retry-after": "soon", "x-ratelimit-reset-tokens": "6m0s"}, 360),
            ({"x-ratelimit-reset-requests": "2m", "x-ratelimit-reset-tokens": "3s"}, 3),
            (
                {
                    "x-ratelimit-reset-requests": "2m",
                    "x-ratelimit-remaining-requests": "0",
                    "x-ratelimit-reset-tokens": "3s",
                    "x-ratelimit-remaining-tokens": "7",
                },
                120,
            ),
            ({"anthropic-ratelimit-requests-reset": "2026-11-22T12:00:30Z"}, 30),
            ({"ratelimit-reset": "4"}, 4),
            ({"x-ratelimit-limit-requests": "4"}, None),
        ],
    )
    def test_the_headers_of_rate_limits(
        self, headers: dict[str, str], seconds: float | None
    ) -> None:
        assert retry.requested_wait(headers, NOW) == seconds


@pytest.mark.anyio
class TestRetrying:
    """The loop over the tries of a call."""

    @pytest.fixture(autouse=True)
    def slept(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        monkeypatch.setattr(anyio, "sleep", sleep)
        return slept

    @staticmethod
    async def call(failures: list[BaseException], **options: Any) -> int:
        """Returns the number of tries of a call that fails with `failures`, one after another."""
        tries = 0
        options = {"left": lambda: math.inf, "spread": lambda: 0.0, **options}
        async for attempt in retry.retrying(**options):
            with attempt:
                tries += 1
                if failures:
                    raise failures.pop(0)
                return tries
        raise AssertionError("the loop has no other end")

    async def test_a_call_that_succeeds_is_sent_once(self, slept: list[float]) -> None:
        assert await self.call([]) == 1
        assert slept == []

    async def test_a_transient_failure_is_sent_again_after_its_pause(
        self, slept: list[float]
    ) -> None:
        assert await self.call([full(), full()]) == 3
        assert slept == [0.25, 0.5]

    async def test_the_last_failure_is_raised_as_it_is(self, slept: list[float]) -> None:
        failures: list[BaseException] = [full(), full(), third := full(), full()]
        with pytest.raises(EngineError) as raised:
            await self.call(failures)
        assert raised.value is third
        assert len(failures) == 1
        assert slept == [0.25, 0.5]

    async def test_the_rules_can_be_widened(self, slept: list[float]) -> None:
        assert await self.call([full(61) for _ in range(4)], most=5, longest=61) == 5
        assert slept == [61] * 4

    async def test_a_final_failure_is_raised_at_once(self, slept: list[float]) -> None:
        spread = iter([0.0])
        for error in (EngineError("no"), ValueError("no"), KeyboardInterrupt()):
            with pytest.raises(type(error)) as raised:
                await self.call([error, full()], spread=lambda: next(spread))
            assert raised.value is error
        assert slept == []

    async def test_the_deadline_is_read_at_each_failure(self, slept: list[float]) -> None:
        left = iter([1.0, 0.4])
        with pytest.raises(EngineError, match="full"):
            await self.call([full(), full()], left=lambda: next(left))
        assert slept == [0.25]

    async def test_each_pause_is_computed_once_and_reported(self, slept: list[float]) -> None:
        reported: list[tuple[EngineError, int, float]] = []
        spread = iter([1.0, 0.5])
        first, second = full(), full()

        def report(error: EngineError, tries: int, seconds: float) -> None:
            reported.append((error, tries, seconds))

        await self.call([first, second], spread=lambda: next(spread), before_sleep=report)
        assert reported == [(first, 1, 0.5), (second, 2, 0.75)]
        assert slept == [0.5, 0.75]

    async def test_a_final_failure_is_not_reported(self) -> None:
        reported: list[int] = []

        def report(error: EngineError, tries: int, seconds: float) -> None:
            reported.append(tries)

        with pytest.raises(EngineError):
            await self.call([full(), full()], most=2, before_sleep=report)
        assert reported == [1]

    async def test_without_a_pause_nothing_else_runs_between_two_tries(
        self, slept: list[float]
    ) -> None:
        others = 0

        async def other() -> None:
            nonlocal others
            others += 1

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            assert await self.call([full(0), full(0)]) == 3
            assert (others, slept) == (0, [])

    async def test_a_cancellation_is_never_sent_again(self) -> None:
        began = anyio.Event()
        tries = 0

        async def call() -> None:
            nonlocal tries
            async for attempt in retry.retrying(left=lambda: math.inf, spread=lambda: 0.0):
                with attempt:
                    tries += 1
                    began.set()
                    await anyio.sleep_forever()
            raise AssertionError("the cancellation was swallowed")

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await began.wait()
            group.cancel_scope.cancel()
        assert group.cancel_scope.cancelled_caught
        assert tries == 1

    async def test_a_pause_can_be_cancelled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        with anyio.move_on_after(0.01) as scope:
            await self.call([full(50)])
        assert scope.cancelled_caught


class Failing:
    """The first answers of a kind break off after `text` with `error`. All later ones succeed."""

    def __init__(self, kind: str, failures: int, text: str, error: EngineError) -> None:
        self.kind = kind
        self.failures = failures
        self.text = text
        self.error = error

    def __call__(self, prompt: str) -> Reply | str:
        at = execution_of(prompt)
        if (at is None) == (self.kind == "planner") and self.failures:
            self.failures -= 1
            return Reply(self.text, error=self.error)
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
    async def test_an_execution_that_broke_off_is_generated_again(self) -> None:
        engine = ScriptedEngine(Failing("executor", 1, "did 1.1\nhal", full(0)))
        result = await Sprint(engine).solve("What?")
        assert [e.text for e in result.stages[0].executions] == ["did 1.1\n", "did 1.2\n"]
        assert {e.status for e in result.stages[0].executions} == {"done"}

    async def test_what_a_failed_try_wrote_is_counted(self) -> None:
        whole = await Sprint(ScriptedEngine(Failing("executor", 0, "", full(0)))).solve("What?")
        engine = ScriptedEngine(Failing("executor", 1, "12345", full(0)))
        result = await Sprint(engine).solve("What?")
        assert result.usage.completion_tokens == whole.usage.completion_tokens + 5

    async def test_a_plan_that_broke_off_is_continued_after_its_last_prompt(self) -> None:
        text = plan("one", "two")
        for cut in range(1, len(text)):
            engine = ScriptedEngine(Failing("planner", 1, text[:cut], full(0)))
            async with Sprint(engine).stream("What?") as run:
                seen = [event async for event in run]
            result = await run.result()
            assert result.answer == "3"
            # The stop string is not part of the plan: a plan that breaks off inside it is complete.
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
