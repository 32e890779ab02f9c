"""When a failure ends a query, and when it ends the run."""

from __future__ import annotations

import anyio
import pytest

from curate.drops import Reason
from curate.llm.cache import Cache
from curate.llm.client import TRIES
from curate.llm.endpoint import EndpointDown
from curate.llm.health import IN_A_ROW
from sprint_agent.testing import FaultServer, Slow, Status
from tests.unit.curate.llm_kit import asking, hasty

pytestmark = pytest.mark.anyio
__all__ = ["hasty"]

OK = '{"steps": []}'


def says(_: str) -> str:
    return OK


@pytest.mark.parametrize(
    "fault", [Status(402), Status(400, body=b'{"error": {"code": "billing_hard_limit_reached"}}')]
)
async def test_a_balance_that_is_used_up_ends_the_run(fault: Status) -> None:
    async with FaultServer(says) as server, asking(server) as asker:
        await asker.ask("paid")
        server.fail(fault)
        with pytest.raises(EndpointDown):
            await asker.ask()


class TestRejections:
    async def test_if_all_are_rejected_the_run_ends_with_the_servers_message(self) -> None:
        message = (
            "max_tokens is too large: 16384. This model supports at most 4096 completion tokens"
        )
        ended: list[str] = []

        async def ask(text: str) -> None:
            with pytest.raises(EndpointDown) as caught:
                await asker.ask(text)
            ended.append(str(caught.value))

        async with FaultServer(says) as server, asking(server) as asker:
            server.fail(Status(400, message=message, times=None))
            with anyio.fail_after(30):
                async with anyio.create_task_group() as group:
                    for number in range(9):
                        group.start_soon(ask, str(number))
        assert len(ended) == 9
        assert all(message in error and "check" in error for error in ended)

    async def test_a_rejection_waits_for_the_other_running_queries(self) -> None:
        """It may concern its prompt alone. Then one trajectory is lost, and not the run."""
        reasons: list[Reason] = []

        async def reject() -> None:
            reasons.append(await asker.reason("odd"))

        async with FaultServer(says) as server, asking(server) as asker:
            gate = anyio.Semaphore(0)
            server.fail(Slow(gate=gate), Status(400))
            async with anyio.create_task_group() as group:
                group.start_soon(asker.ask, "fine")
                await server.until(lambda: server.in_flight == 1)
                group.start_soon(reject)
                await server.until(lambda: len(server.requests) == 2 and server.in_flight == 1)
                await anyio.wait_all_tasks_blocked()
                assert reasons == []
                for _ in range(9 * len(OK)):
                    gate.release()
        assert reasons == [Reason.REJECTED]

    async def test_a_kept_answer_shows_that_the_model_answers(self) -> None:
        """Otherwise a resumed run that lacks only the rejected queries could never finish."""
        cache = Cache(":memory:")
        async with FaultServer(says) as server:
            async with asking(server, cache=cache) as asker:
                await asker.ask("kept")
            async with asking(server, cache=cache) as asker:
                await asker.ask("kept")
                server.fail(Status(400), Status(403))
                assert await asker.reason() is Reason.REJECTED
                # The key may have lost its permission since then.
                with pytest.raises(EndpointDown):
                    await asker.ask()

    async def test_each_model_is_judged_by_its_own_answers(self) -> None:
        async with FaultServer(says) as server, asking(server) as asker:
            await asker.ask()
            server.fail(Status(400))
            with pytest.raises(EndpointDown, match="small has answered nothing"):
                await asker.ask(kind="leaks")


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("code", [429, 502])
async def test_many_failures_in_a_row_end_the_run(code: int) -> None:
    async with FaultServer(says) as server, asking(server) as asker:
        for _ in range(2):
            server.fail(Status(code, times=(IN_A_ROW - 1) * TRIES))
            for number in range(IN_A_ROW - 1):
                await asker.reason(str(number))
            await asker.ask(f"in between {len(server.requests)}")
        server.fail(Status(code, times=None))
        for number in range(IN_A_ROW - 1):
            await asker.reason(str(number))
        with pytest.raises(EndpointDown, match="run the same command again"):
            await asker.ask("the last")
