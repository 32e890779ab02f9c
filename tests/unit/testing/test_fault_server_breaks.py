"""FaultServer with faults that end a connection or an answer: resets, crashes, stalls, aborts."""

from __future__ import annotations

import json

import anyio
import httpx2
import pytest

from sprint_agent.testing import ALL, Crash, FaultServer, Reset, Stall
from tests.unit.testing.http_client import (
    connected,
    generate_body,
    objects,
    post,
    raw_connection,
    read_to_end,
    streamed,
    texts,
    wait_for_events,
)

pytestmark = pytest.mark.anyio

PATH = "/generate"


def echo(prompt: str) -> str:
    return prompt


@pytest.mark.parametrize("after", [0, 1, 3, 5, ALL])
async def test_a_reset_after_some_tokens(after: int) -> None:
    async with FaultServer(lambda _: "abcde") as server, raw_connection(server) as stream:
        server.fail(Reset(after))
        await post(stream, generate_body())
        data, how = await read_to_end(stream)
        assert how is anyio.BrokenResourceError
        events = [
            json.loads(line[6:]) for line in data.split(b"\r\n") if line.startswith(b"data: ")
        ]
        assert [len(one["output_ids"]) for one in events] == list(range(1, min(after, 5) + 1))
        assert all(one["meta_info"]["finish_reason"] is None for one in events)
        assert server.disconnects == []


@pytest.mark.parametrize("body", [generate_body(), generate_body(stream=False)])
async def test_a_reset_before_the_head(body: object) -> None:
    prompts: list[str] = []

    def script(prompt: str) -> str:
        prompts.append(prompt)
        return "abc"

    async with FaultServer(script) as server, raw_connection(server) as stream:
        server.fail(Reset())
        await post(stream, body)
        assert await read_to_end(stream) == (b"", anyio.BrokenResourceError)
        assert prompts == []
        async with connected(server) as client:
            assert (await client.post(PATH, json=body)).status_code == 200
        assert prompts == ["Q"]


async def test_a_crash_resets_every_connection_and_refuses_new_ones() -> None:
    async with (
        FaultServer(echo) as server,
        raw_connection(server) as idle,
        raw_connection(server) as busy,
    ):
        server.fail(Stall(1), Crash(2))
        await post(busy, generate_body("abc", rid="b" * 32))
        await server.until(lambda: server.in_flight == 1)
        seen: list[str] = []
        async with connected(server) as client:
            with pytest.raises(httpx2.ReadError):
                await streamed(client, PATH, generate_body("abc"), seen)
            assert texts(seen) == ["a", "ab"]
            for one in (idle, busy):
                assert (await read_to_end(one))[1] is anyio.BrokenResourceError
            await server.until(lambda: server.in_flight == 0)
            for _ in range(2):
                with pytest.raises(httpx2.ConnectError):
                    await client.get("/health")
            url = server.url
            await server.restart()
            assert server.url == url
            assert objects(await streamed(client, PATH, generate_body("abc")))[-1]["text"] == "abc"


async def test_a_server_can_be_down_from_the_start() -> None:
    async with FaultServer(echo) as server, connected(server) as client:
        await server.crash()
        await server.crash()
        with pytest.raises(httpx2.ConnectError):
            await client.get("/health")
        await server.restart()
        await server.restart()
        assert (await client.get("/health")).status_code == 200
    async with server, connected(server) as client:
        assert (await client.get("/health")).status_code == 200


async def test_an_id_outside_the_vocabulary_crashes_it() -> None:
    async with FaultServer(echo) as server, connected(server) as client:
        with pytest.raises(httpx2.ReadError):
            await client.post(PATH, json=generate_body(input_ids=[65, 1 << 40]))
        with pytest.raises(httpx2.ConnectError):
            await client.get("/health")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("after", [None, 0, 2, ALL])
async def test_a_stall_lasts_until_the_abort(stream: bool, after: int | None) -> None:
    events: list[str] = []

    async def ask(client: httpx2.AsyncClient) -> None:
        if stream:
            await streamed(client, PATH, generate_body("abc"), events)
        else:
            body = generate_body("abc", stream=False)
            events.append((await client.post(PATH, json=body)).text)

    server = FaultServer(echo)
    async with server, connected(server) as client, anyio.create_task_group() as group:
        server.fail(Stall(after))
        group.start_soon(ask, client)
        count = min(after or 0, 3) if stream else 0
        await server.until(lambda: server.in_flight == 1)
        await wait_for_events(events, count)
        await anyio.wait_all_tasks_blocked()
        assert texts(events) == ["a", "ab", "abc"][:count]
        before = anyio.current_time()
        await client.post("/abort_request", json={"rid": "r" * 31})
        await server.until(lambda: server.in_flight == 0)
        (abort,) = server.aborts
        assert abort.rid == "r" * 31
        assert before <= abort.at <= anyio.current_time()
    last = json.loads(events[-2 if stream else -1])
    assert last["meta_info"]["finish_reason"]["type"] == "abort"
    assert last["meta_info"]["completion_tokens"] == (min(after or 0, 3))
    assert server.disconnects == []


async def test_an_abort_ends_only_what_it_names() -> None:
    server = FaultServer(echo)
    async with server, connected(server) as client, anyio.create_task_group() as group:
        server.fail(Stall(times=3))
        for letter in "abc":
            group.start_soon(streamed, client, PATH, generate_body(rid=letter * 32))
        await server.until(lambda: server.in_flight == 3)
        await client.post("/abort_request", json={"rid": "x"})
        await client.post("/abort_request", json={"rid": "b" * 32})
        await server.until(lambda: server.in_flight == 2)
        assert {call.rid for call in server.aborts} == {"x", "b" * 32}
        await client.post("/abort_request", json={"abort_all": True})
        await server.until(lambda: server.in_flight == 0)


@pytest.mark.parametrize("after", [None, 2])
async def test_a_client_that_disconnects_is_recorded(after: int | None) -> None:
    async with FaultServer(echo) as server:
        server.fail(Stall(after))
        async with raw_connection(server) as stream:
            await post(stream, generate_body())
            await server.until(lambda: server.in_flight == 1)
            assert server.disconnects == []
        await server.until(lambda: server.in_flight == 0)
        (disconnect,) = server.disconnects
        assert (disconnect.rid, server.aborts) == ("r" * 32, [])
        assert server.requests[0].at <= disconnect.at <= anyio.current_time()


async def test_an_abort_counts_although_its_response_stalls() -> None:
    server = FaultServer(echo)
    async with server, connected(server) as client, anyio.create_task_group() as group:
        server.fail(Stall(), Stall(path="/abort_request"))
        group.start_soon(streamed, client, PATH, generate_body())
        await server.until(lambda: server.in_flight == 1)
        async with raw_connection(server) as stream:
            await post(stream, {"rid": "r"}, "/abort_request")
            await server.until(lambda: server.in_flight == 0)
        group.cancel_scope.cancel()
