"""The LLM client without failures: what it sends, how often, how many at a time, and at what cost."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from curate.llm.cache import Cache, CacheError
from curate.llm.cost import Ledger
from curate.llm.endpoint import CostCeiling, Message
from curate.llm.wire import Completion
from sprint_agent.limits import Prices
from sprint_agent.testing import FaultServer, Reply, Slow, Status, cancel_everywhere
from tests.unit.curate.llm_kit import MODELS, SCHEMA, asking

pytestmark = pytest.mark.anyio

OK = '{"steps": [1]}'
PRICES = {model: Prices(1e6, 1e6, cached=0.5e6) for model in MODELS.values()}
"""A token costs 1, and a token in the server's cache 0.5."""


def says(_: str) -> str:
    return OK


async def test_the_request_that_is_sent() -> None:
    async with FaultServer(says) as server, asking(server, max_tokens=99) as asker:
        assert await asker.ask() == OK
        (asked,) = server.requests
        assert asked.path == "/v1/chat/completions"
        assert asked.body == {
            "model": "large",
            "messages": [
                {"role": "system", "content": "be exact"},
                {"role": "user", "content": "Q"},
            ],
            "temperature": 0.0,
            "max_tokens": 99,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "steps", "strict": True, "schema": SCHEMA},
            },
        }
        await asker.ask(kind="leaks")
        assert server.requests[1].body["model"] == "small"


async def test_a_client_that_was_not_entered_sends_nothing() -> None:
    async with FaultServer(says) as server:
        async with asking(server) as asker:
            pass
        with pytest.raises(AssertionError, match="enter"):
            await asker.ask()


class TestCache:
    async def test_a_kept_answer_is_not_asked_for_again(self) -> None:
        cache = Cache(":memory:")
        async with FaultServer(says) as server:
            for _ in range(2):
                async with asking(server, cache=cache) as asker:
                    assert await asker.ask() == OK
                    # The subject and the attempt are not sent, so they do not matter.
                    assert await asker.ask(subject="t", attempt=2) == OK
            assert len(server.requests) == 1
            assert (asker.spending.requests, asker.spending.cached) == (0, 2)

    @pytest.mark.parametrize(
        "other",
        [
            {"version": "2"},
            {"kind": "leaks"},
            {"schema": {"type": "object"}},
            {"messages": (Message("user", "be exact"), Message("user", "Q"))},
            {"messages": (Message("system", "be exact"), Message("user", "q"))},
        ],
    )
    async def test_a_different_query_is_sent(self, other: dict[str, Any]) -> None:
        async with FaultServer(says) as server, asking(server) as asker:
            await asker.ask()
            await asker.ask(**other)
            assert len(server.requests) == 2

    async def test_another_max_tokens_is_a_different_query(self) -> None:
        cache = Cache(":memory:")
        async with FaultServer(says) as server:
            for most in (98, 99):
                async with asking(server, cache=cache, max_tokens=most) as asker:
                    await asker.ask()
            assert len(server.requests) == 2


class TestEqualQueries:
    async def test_only_one_is_sent(self) -> None:
        async with FaultServer(says) as server, asking(server) as asker:
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(asker.ask)
            assert len(server.requests) == 1
            assert asker.spending.cached == 4

    async def test_a_waiting_task_asks_itself_if_the_asking_one_is_cancelled(self) -> None:
        answers: list[str] = []

        async def wait() -> None:
            answers.append(await asker.ask())

        async with FaultServer(says) as server, asking(server) as asker:
            gate = anyio.Semaphore(0)
            server.fail(Slow(gate=gate))
            async with anyio.create_task_group() as group, anyio.create_task_group() as first:
                first.start_soon(asker.ask)
                await server.until(lambda: server.in_flight == 1)
                group.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                first.cancel_scope.cancel()
            assert answers == [OK]
            assert len(server.requests) == 2
            await server.until(lambda: server.disconnects)

    async def test_all_of_them_get_the_error(self) -> None:
        async with FaultServer(says) as server, asking(server) as asker:
            await asker.ask("another")
            server.fail(Status(400))
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(asker.reason)
            assert len(server.requests) == 2
            assert await asker.ask() == OK


class TestConcurrency:
    async def test_no_more_requests_run_than_allowed(self) -> None:
        async with FaultServer(says) as server, asking(server, concurrency=3) as asker:
            gate = anyio.Semaphore(0)
            server.fail(Slow(gate=gate, times=None))
            async with anyio.create_task_group() as group:
                for number in range(9):
                    group.start_soon(asker.ask, str(number))
                await server.until(lambda: server.in_flight == 3)
                await anyio.wait_all_tasks_blocked()
                assert len(server.requests) == 3
                for _ in range(9 * len(OK) * 2):
                    gate.release()
                await server.until(lambda: len(server.requests) == 9)

    async def test_a_query_that_waits_for_its_retry_takes_no_slot(self) -> None:
        async with FaultServer(says) as server, asking(server, concurrency=1) as asker:
            server.fail(Status(503, retry_after=60))
            async with anyio.create_task_group() as group:
                group.start_soon(asker.ask, "first")
                await server.until(lambda: server.requests)
                with anyio.fail_after(30):
                    assert await asker.ask("second") == OK
                group.cancel_scope.cancel()


class TestCost:
    async def test_the_cost_of_answers(self) -> None:
        ledger = Ledger(PRICES, ceiling=1e6, paid=7.0)
        server = FaultServer(says, cached_tokens=5)
        cache = Cache(":memory:")
        async with server, asking(server, ledger=ledger, cache=cache) as asker:
            await asker.ask()
            spending = asker.spending
            assert spending.prompt_tokens == len("system: be exact\n\nuser: Q")
            # The end of the answer is one more token.
            assert spending.completion_tokens == len(OK) + 1
            assert spending.cached_tokens == 5
            expected = spending.prompt_tokens - 2.5 + spending.completion_tokens
            assert (spending.cost, spending.paid, spending.lost) == (expected, 7.0, 0.0)
            assert cache.paid({}) == cache.paid(PRICES) == expected

    async def test_many_running_requests_keep_below_the_ceiling(self) -> None:
        ledger = Ledger(PRICES, ceiling=1000)
        ended: list[bool] = []

        async def ask(text: str) -> None:
            try:
                await asker.ask(text)
                ended.append(True)
            except CostCeiling:
                ended.append(False)

        async with FaultServer(says) as server:
            async with (
                asking(server, ledger=ledger, max_tokens=300) as asker,
                anyio.create_task_group() as group,
            ):
                for number in range(50):
                    group.start_soon(ask, str(number))
            answered = ended.count(True)
            assert answered == len(server.requests)
        # An answer costs about 40 but might cost about 650, so one request at a time is sent.
        assert answered > 3
        assert ended == [True] * answered + [False] * (50 - answered)
        assert 1000 - 700 < ledger.spending.cost <= 1000

    async def test_a_ceiling_needs_prices(self) -> None:
        with pytest.raises(ValueError, match="prices of small"):
            async with asking("http://x", ledger=Ledger({"large": Prices(1, 1)}, ceiling=1)):
                pass


async def test_a_cancellation_at_any_point() -> None:
    """Whenever it happens, no slot stays taken and no money stays reserved."""
    ledger = Ledger(PRICES, ceiling=1e6)

    async def run() -> None:
        async with asking(server, ledger=ledger, concurrency=1) as asker:
            server.fail(Status(503, retry_after=0))
            await asker.ask()
            await asker.ask("another")

    async def in_server() -> int:
        with anyio.move_on_after(5):
            await server.until(lambda: server.in_flight == 0)
        return server.in_flight

    async with FaultServer(says, chunk=99) as server:
        leaked = {"reserved": lambda: ledger.running, "in the server": in_server}
        report = await cancel_everywhere(run, leaked=leaked)
    assert report.ok, str(report)
    assert report.points > 10
    # Some runs were cancelled while a request ran, and some after its answer.
    assert ledger.spending.lost > 0
    assert ledger.spending.cost > 0


async def test_an_empty_answer_is_an_answer() -> None:
    async with FaultServer(lambda _: Reply("")) as server, asking(server) as asker:
        assert await asker.ask() == ""


async def test_a_cancellation_is_not_retried() -> None:
    async with FaultServer(says) as server, asking(server) as asker:
        server.fail(Slow(gate=anyio.Semaphore(0), times=None))
        async with anyio.create_task_group() as group:
            group.start_soon(asker.ask)
            await server.until(lambda: server.in_flight == 1)
            group.cancel_scope.cancel()
        await server.until(lambda: server.disconnects)
        assert (asker.spending.requests, asker.spending.retries) == (1, 0)


async def test_an_error_that_is_not_the_endpoints_is_raised_at_once() -> None:
    class BrokenCache(Cache):
        def put(self, key: str, model: str, answer: Completion, cost: float) -> None:
            raise CacheError("the disk is full")

    async with FaultServer(says) as server:
        async with asking(server, cache=BrokenCache(":memory:")) as asker:
            with pytest.raises(CacheError, match="the disk is full"):
                await asker.ask()
        assert len(server.requests) == 1
