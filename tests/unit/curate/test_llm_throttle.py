"""The limiter: fewer requests after a refusal, more after answers, none before a server's time."""

from __future__ import annotations

import anyio
import pytest

from curate.llm.throttle import AdaptiveLimiter

pytestmark = pytest.mark.anyio


async def test_a_refusal_halves_the_slots() -> None:
    limiter = AdaptiveLimiter(8)
    for expected in (4, 2, 1, 1):
        async with limiter.slot("m") as since:
            limiter.busy("m", since, None)
        assert limiter.slots == expected


async def test_a_burst_of_refusals_counts_once() -> None:
    """A request that was sent before the slots were halved does not halve them again."""
    limiter = AdaptiveLimiter(8)
    async with limiter.slot("m") as since:
        await anyio.sleep(0.001)
        limiter.busy("m", since, None)
        limiter.busy("m", since, None)
    assert limiter.slots == 4


async def test_as_many_answers_as_slots_add_one_slot() -> None:
    limiter = AdaptiveLimiter(8)
    async with limiter.slot("m") as since:
        limiter.busy("m", since, None)
    for _ in range(4):
        limiter.answered()
    assert limiter.slots == 4
    limiter.answered()
    assert limiter.slots == 5
    for _ in range(99):
        limiter.answered()
    assert limiter.slots == 8


async def test_no_request_is_sent_before_the_servers_time() -> None:
    limiter = AdaptiveLimiter(8)
    begin = anyio.current_time()
    async with limiter.slot("m") as since:
        limiter.busy("m", since, 0.05)
    async with limiter.slot("other"):
        assert anyio.current_time() - begin < 0.05
    async with limiter.slot("m") as since:
        assert since - begin >= 0.05


async def test_a_shorter_wait_does_not_replace_a_longer_one() -> None:
    limiter = AdaptiveLimiter(8)
    begin = anyio.current_time()
    async with limiter.slot("m") as since:
        limiter.busy("m", since, 0.05)
        limiter.busy("m", since, 0.0)
    async with limiter.slot("m") as since:
        assert since - begin >= 0.05


async def test_a_request_that_waited_for_a_slot_waits_for_the_servers_time_too() -> None:
    limiter = AdaptiveLimiter(1)
    taken: list[float] = []

    async def wait() -> None:
        async with limiter.slot("m") as since:
            taken.append(since)

    async with anyio.create_task_group() as group, limiter.slot("m") as since:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        limiter.busy("m", since, 0.05)
    assert taken[0] - since >= 0.05


async def test_a_cancelled_request_frees_its_slot() -> None:
    limiter = AdaptiveLimiter(1)
    with anyio.CancelScope() as scope:
        async with limiter.slot("m"):
            scope.cancel()
            await anyio.sleep_forever()
    with anyio.fail_after(5):
        async with limiter.slot("m"):
            pass
