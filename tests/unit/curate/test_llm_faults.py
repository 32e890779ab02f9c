"""The LLM client at a failing server: which failures are retried, and how a query ends."""

from __future__ import annotations

import json

import anyio
import pytest

from curate.drops import Reason
from curate.llm.client import TRIES
from curate.llm.cost import Ledger
from curate.llm.endpoint import EndpointDown
from sprint_agent.limits import Prices
from sprint_agent.testing import (
    Crash,
    Declined,
    Failure,
    Fault,
    FaultServer,
    Filtered,
    Garbage,
    Reply,
    Reset,
    Slow,
    Stall,
    Status,
    Truncated,
    Unfinished,
)
from tests.unit.curate.llm_kit import asking, hasty
from tests.unit.engines.fake_openai import Behaviour, Body, ResponseWriter, Server, serving

pytestmark = pytest.mark.anyio
__all__ = ["hasty"]

CHAT = "/v1/chat/completions"
OK = '{"steps": []}'


def says(_: str) -> str:
    return OK


TRANSIENT: list[tuple[Fault, Reason]] = [
    (Status(429), Reason.BUSY),
    (Status(429, retry_after=0), Reason.BUSY),
    (Status(500), Reason.FAILED),
    (Status(503, retry_after=0), Reason.FAILED),
    (Status(529, body=b"<html>"), Reason.FAILED),
    (Status(408), Reason.FAILED),
    (Reset(), Reason.FAILED),
    (Truncated(), Reason.FAILED),
    (Truncated(after=3), Reason.FAILED),
    (Garbage(b"{"), Reason.FAILED),
    (Garbage(b"[1]"), Reason.FAILED),
    (Garbage(b"[" * 100_000), Reason.FAILED),
    (Garbage(b'{"error": {"message": "late"}}'), Reason.FAILED),
    (Garbage(b'{"choices": []}'), Reason.FAILED),
    (Garbage(b'{"choices": [{"finish_reason": "stop"}]}'), Reason.FAILED),
    (Garbage(b'{"choices": [{"finish_reason": "error", "message": {}}]}'), Reason.FAILED),
    (
        Garbage(b'{"choices": [{"finish_reason": "stop", "message": {"content": 7}}]}'),
        Reason.FAILED,
    ),
    (Unfinished(), Reason.FAILED),
    (Failure(), Reason.FAILED),
]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(("fault", "reason"), TRANSIENT)
async def test_a_transient_failure_is_retried(fault: Fault, reason: Reason) -> None:
    async with FaultServer(says) as server, asking(server) as asker:
        server.fail(*[fault] * (TRIES - 1))
        assert await asker.ask() == OK
        assert len(server.requests) == asker.spending.requests == TRIES
        assert asker.spending.retries == TRIES - 1
        server.fail(*[fault] * TRIES)
        assert await asker.reason("another") is reason
        assert len(server.requests) == 2 * TRIES
        # The failure was not kept, so a later run asks again.
        assert await asker.ask("another") == OK


@pytest.mark.usefixtures("hasty")
async def test_a_silent_server_is_retried_and_then_given_up() -> None:
    async with FaultServer(says) as server, asking(server, timeout=0.1) as asker:
        server.fail(Stall(times=TRIES))
        assert await asker.reason() is Reason.FAILED
        await server.until(lambda: len(server.disconnects) == TRIES)


@pytest.mark.usefixtures("hasty")
async def test_the_timeout_bounds_the_whole_answer() -> None:
    """A server that keeps sending bytes does not extend it."""

    async def behave(server: Server, reply: ResponseWriter, asked: Body) -> None:
        await reply.start_stream()
        while True:
            await reply.send_chunk(b" ")
            await anyio.sleep(0.02)

    async with serving(behave) as server, asking(server.url, timeout=0.2) as asker:
        with anyio.fail_after(30):
            assert await asker.reason() is Reason.FAILED


@pytest.mark.parametrize("code", [400, 413, 422])
async def test_a_rejection_is_final(code: int) -> None:
    async with FaultServer(says) as server, asking(server) as asker:
        await asker.ask("another")
        server.fail(Status(code))
        assert await asker.reason() is Reason.REJECTED
        assert len(server.requests) == 2
        assert await asker.ask() == OK


def error(message: str, **fields: str) -> bytes:
    return json.dumps({"error": {"message": message, **fields}}).encode()


async def test_a_content_filter_refuses_the_prompt() -> None:
    async with FaultServer(says) as server, asking(server) as asker:
        server.fail(Status(400, body=error("no", code="content_filter")))
        assert await asker.reason() is Reason.REFUSED


@pytest.mark.parametrize(
    "fault",
    [
        Status(401, message="wrong key"),
        Status(402, message="Insufficient Balance"),
        Status(403),
        Status(404, body=error("no such model", code="model_not_found")),
        Status(405),
        Status(307),
        Status(429, body=error("pay first", code="insufficient_quota")),
        Status(400, body=error("pay first", code="billing_hard_limit_reached")),
        Status(400, message="max_tokens: supports at most 4096 completion tokens"),
    ],
)
async def test_an_endpoint_that_answers_no_query_ends_the_run(fault: Status) -> None:
    async with FaultServer(says) as server, asking(server) as asker:
        server.fail(fault)
        with pytest.raises(EndpointDown):
            await asker.ask()
        assert len(server.requests) == 1


async def test_a_403_after_an_answer_concerns_the_prompt() -> None:
    async with FaultServer(says) as server, asking(server) as asker:
        assert await asker.ask("fine") == OK
        server.fail(Status(403))
        assert await asker.reason("flagged") is Reason.REFUSED
        assert await asker.ask("flagged") == OK


@pytest.mark.usefixtures("hasty")
async def test_a_missing_server_ends_the_run() -> None:
    async with FaultServer(says) as server, asking(server) as asker:
        await server.crash()
        with pytest.raises(EndpointDown, match="no server answers"):
            await asker.ask()
        assert asker.spending.requests == TRIES


async def test_a_restarted_server_answers() -> None:
    answers: list[str] = []
    async with FaultServer(says) as server, asking(server) as asker:
        server.fail(Crash())

        async def ask() -> None:
            answers.append(await asker.ask())

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await server.until(lambda: server.requests)
            with anyio.fail_after(30):
                while asker.spending.retries == 0:  # noqa: ASYNC110 - the ledger has no event
                    await anyio.sleep(0.01)
            await server.restart()
    assert answers == [OK]


@pytest.mark.parametrize("url", ["http://127.0.0.1:port/v1", "ftp://127.0.0.1/v1"])
async def test_an_invalid_address_ends_the_run(url: str) -> None:
    with pytest.raises(EndpointDown):
        async with asking(url) as asker:
            await asker.ask()


async def test_a_cut_off_or_refused_answer_is_not_paid_twice() -> None:
    def script(prompt: str) -> Reply | str:
        return Reply(OK, reason="length") if prompt.endswith("long") else OK

    async with FaultServer(script) as server, asking(server) as asker:
        server.fail(Filtered(), Declined())
        for _ in range(2):
            assert await asker.reason("filtered") is Reason.REFUSED
            assert await asker.reason("declined") is Reason.REFUSED
            assert await asker.reason("long") is Reason.TRUNCATED
        assert len(server.requests) == 3
        assert asker.spending.cached == 3


async def test_an_unpaired_surrogate_is_not_sent() -> None:
    async with FaultServer(says) as server, asking(server) as asker:
        assert await asker.reason("\ud800") is Reason.REJECTED
        assert not server.requests
        assert asker.cache.lost({"large": Prices(1, 1)}) == 0


class TestRetryAfter:
    async def test_no_request_is_sent_to_the_model_earlier(self) -> None:
        async with FaultServer(says) as server, asking(server) as asker:
            server.fail(Status(429, retry_after=0.4))
            async with anyio.create_task_group() as group:
                group.start_soon(asker.ask, "first")
                await server.until(lambda: server.requests and not server.in_flight)
                # After one more round trip, the client has read the answer.
                await asker.ask("other", kind="leaks")
                group.start_soon(asker.ask, "second")
            first, other, *later = server.requests
            assert other.body["model"] == "small"
            assert other.at - first.at < 0.4
            assert len(later) == 2
            assert all(asked.at - first.at >= 0.4 for asked in later)

    @pytest.mark.parametrize("seconds", [61, 900])
    async def test_a_long_wait_drops_no_query(self, seconds: int) -> None:
        async with FaultServer(says) as server, asking(server) as asker:
            server.fail(Status(429, retry_after=seconds))
            async with anyio.create_task_group() as group:
                group.start_soon(asker.ask, "first")
                await server.until(lambda: server.requests and not server.in_flight)
                await asker.ask("other", kind="leaks")
                group.start_soon(asker.ask, "second")
                # During one more round trip, a query that does not wait would be sent.
                await asker.ask("another", kind="leaks")
                assert [asked.body["model"] for asked in server.requests].count("large") == 1
                assert asker.spending.retries == 1
                group.cancel_scope.cancel()

    @pytest.mark.parametrize("code", [429, 503])
    async def test_a_server_that_asks_for_a_longer_wait_ends_the_run(self, code: int) -> None:
        async with FaultServer(says) as server, asking(server) as asker:
            server.fail(Status(code, retry_after=901))
            with pytest.raises(EndpointDown, match="asks to wait for 901 s"):
                await asker.ask()

    async def test_a_burst_of_refusals_uses_up_no_querys_tries(self) -> None:
        """Many requests at once, at a server that runs 4 at a time and sends a Retry-After."""
        served = refused = under_way = 0

        async def behave(server: Server, reply: ResponseWriter, asked: Body) -> None:
            nonlocal served, refused, under_way
            if under_way == 4:
                refused += 1
                head = b"HTTP/1.1 429 X\r\nretry-after: 0.02\r\ncontent-length: 2\r\n\r\n{}"
                await reply.socket.send(head)
                return
            under_way += 1
            await anyio.sleep(0.01)
            under_way -= 1
            served += 1
            choice = {"finish_reason": "stop", "message": {"content": OK}}
            await reply.send_response(200, json.dumps({"choices": [choice]}))

        async with (
            serving(behave) as server,
            asking(server.url, concurrency=64) as asker,
            anyio.create_task_group() as group,
        ):
            for number in range(200):
                group.start_soon(asker.ask, str(number))
        assert served == 200
        assert 0 < refused < 200


LOST = [Reset(), Truncated(), Garbage(b"{"), Stall()]
FREE = [Status(503), Status(429)]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("fault", [*LOST, *FREE])
async def test_a_request_without_an_answer_may_be_charged(fault: Fault) -> None:
    prices = {"large": Prices(1e6, 1e6), "small": Prices(0, 0)}
    ledger = Ledger(prices, ceiling=1e9)
    options = {"ledger": ledger, "timeout": 0.3, "max_tokens": 99}
    async with FaultServer(says) as server, asking(server, **options) as asker:
        server.fail(fault)
        await asker.ask()
    spending = ledger.spending
    assert spending.cost == spending.prompt_tokens + spending.completion_tokens
    if fault in FREE:
        assert spending.lost == 0
    else:
        assert spending.lost >= spending.prompt_tokens + 99
    # A later session counts it too.
    assert asker.cache.lost(prices) == spending.lost


REFUSED_PARAMETERS: list[tuple[str, bytes]] = [
    ("response_format", error("This response_format type is unavailable now")),
    ("response_format", error("This model does not support response format `json_schema`")),
    (
        "response_format",
        error("Invalid parameter", code="unsupported_parameter", param="response_format"),
    ),
    ("temperature", error("Unsupported value: 'temperature' does not support 0")),
    ("max_tokens", error("Unsupported parameter: 'max_tokens' is not supported")),
]


@pytest.mark.parametrize("code", [400, 422])
@pytest.mark.parametrize(("name", "body"), REFUSED_PARAMETERS)
async def test_a_refused_parameter_is_learned_once(code: int, name: str, body: bytes) -> None:
    async with FaultServer(says) as server, asking(server) as asker:
        server.fail(Status(code, body=body))
        for text in ("first", "second"):
            assert await asker.ask(text) == OK
        assert [name in asked.body for asked in server.requests] == [True, False, False]
        assert ("max_completion_tokens" in server.requests[2].body) == (name == "max_tokens")
        # Another model may accept the parameter.
        await asker.ask("third", kind="leaks")
        assert name in server.requests[3].body
        # What was learned is not part of the cache key, so the answer is found.
        await asker.ask("first")
        assert len(server.requests) == 4
        assert asker.spending.retries == 0


async def test_two_refusals_at_the_same_time_are_both_learned() -> None:
    both = anyio.Event()

    def refuse() -> Behaviour:
        names = ["temperature", "max_tokens"]

        async def behave(server: Server, reply: ResponseWriter, asked: Body) -> None:
            if names:
                name = names.pop()
                if not names:
                    both.set()
                await both.wait()
                words = {"error": {"message": f"Unsupported parameter: '{name}'"}}
                await reply.send_response(400, json.dumps(words))
                return
            choice = {"finish_reason": "stop", "message": {"content": OK}}
            await reply.send_response(200, json.dumps({"choices": [choice]}))

        return behave

    async with serving(refuse()) as server, asking(server.url) as asker:
        async with anyio.create_task_group() as group:
            group.start_soon(asker.ask, "a")
            group.start_soon(asker.ask, "b")
        await asker.ask("c")
        assert not server.requests[-1].keys() & {"temperature", "max_tokens"}


async def test_a_request_that_exceeds_the_context_is_sent_for_fewer_tokens() -> None:
    server = FaultServer(says, context_length=600)
    async with server, asking(server, max_tokens=1600) as asker:
        assert await asker.ask() == OK
        assert [asked.body["max_tokens"] for asked in server.requests] == [1600, 800, 400]
        assert await asker.reason("Q" * 700) is Reason.REJECTED


async def test_a_slow_answer_within_the_timeout_is_no_failure() -> None:
    async with FaultServer(says) as server, asking(server, timeout=30) as asker:
        server.fail(Slow(0.01))
        assert await asker.ask() == OK
        assert len(server.requests) == 1
