"""The SGLang engine on a server with faults, and with readers that leave early."""

from __future__ import annotations

import anyio
import pytest

from sprint_agent.engine import Request
from sprint_agent.engines import SGLangEngine
from sprint_agent.errors import (
    EngineError,
    EngineUnavailable,
    RequestRefused,
    SprintError,
    TruncatedStream,
)
from sprint_agent.testing import (
    BAD_JSON,
    BAD_SSE,
    Crash,
    Failure,
    Fault,
    Garbage,
    Reset,
    SingleNewlines,
    Stall,
    Status,
    Truncated,
    Unfinished,
)
from tests.unit.engines.sglang_kit import (
    GREEDY,
    PROMPT,
    CharTokenizer,
    aborted,
    engine_of,
    event,
    events,
    read,
    serving,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Left(Exception):
    pass


async def test_leaving_early_aborts_the_request() -> None:
    async with serving(Stall(3, times=None)) as server, engine_of(server) as engine:
        requests = [Request(PROMPT, GREEDY) for _ in range(3)]
        async with engine.generate(requests[0]) as stream:
            async for _ in stream:
                break
        await server.until(lambda: aborted(server) == [requests[0].request_id])
        with pytest.raises(Left):
            async with engine.generate(requests[1]):
                raise Left
        async with engine.generate(requests[2]):
            assert engine.in_flight == 1
        await server.until(lambda: aborted(server) == [request.request_id for request in requests])
        assert engine.in_flight == 0


@pytest.mark.parametrize("fault", [Stall(), Stall(0), Stall(3)])
async def test_a_cancelled_reader_aborts_the_request(fault: Fault) -> None:
    async with serving(fault) as server, engine_of(server) as engine:
        request = Request(PROMPT, GREEDY)
        async with anyio.create_task_group() as group:
            group.start_soon(read, engine, request)
            await server.until(lambda: server.requests)
            group.cancel_scope.cancel()
        await server.until(lambda: aborted(server) == [request.request_id])
        assert engine.in_flight == 0


TRUNCATED: list[Fault] = [
    Unfinished(),
    Unfinished(1),
    Unfinished(1, done=True),
    Unfinished(0),
    Truncated(0),
    Truncated(1),
    Reset(1),
    SingleNewlines(),
    Garbage(BAD_SSE, after=1),
    events({"text": "A"}),
    events({"output_ids": [65], "meta_info": {"prompt_tokens": "1"}}),
]


@pytest.mark.parametrize("fault", TRUNCATED)
async def test_a_stream_without_a_finish_reason_is_truncated(fault: Fault) -> None:
    async with serving(fault) as server, engine_of(server) as engine:
        request = Request(PROMPT, GREEDY)
        with pytest.raises(TruncatedStream):
            await read(engine, request)
        await server.until(lambda: aborted(server) == [request.request_id])
        assert engine.in_flight == 0


def aborts_with(**more: object) -> Fault:
    finish = {"type": "abort", "message": "no such thing", **more}
    return events(event([], finish))


REFUSED: list[tuple[Fault, type[EngineError], bool]] = [
    (Status(400, message="no such thing"), RequestRefused, False),
    (Status(422, body=b'{"detail": "no such thing"}'), RequestRefused, False),
    (Status(404, body=b"no such\nthing"), RequestRefused, False),
    (Status(500, body=b'{"message": "no such thing"}'), EngineUnavailable, True),
    (Status(503, body=b"no such thing"), EngineUnavailable, True),
    (Failure("no such thing", 400), RequestRefused, False),
    (Failure("no such thing", 500, after=2), EngineUnavailable, True),
    (events({"error": "no such thing"}), EngineError, True),
    (aborts_with(), EngineUnavailable, False),
    (aborts_with(status_code=503), EngineUnavailable, False),
]


@pytest.mark.parametrize(("fault", "error", "aborts"), REFUSED)
async def test_error_statuses(fault: Fault, error: type[EngineError], aborts: bool) -> None:
    async with serving(fault) as server, engine_of(server) as engine:
        request = Request(PROMPT, GREEDY)
        with pytest.raises(EngineError, match="no such thing") as caught:
            await read(engine, request)
        assert type(caught.value) is error
        await server.until(lambda: aborted(server) == ([request.request_id] if aborts else []))


MALFORMED: list[object] = [
    "{",
    "[1]",
    "null",
    "[" * 100_000,
    event([65], meta_info=None),
    {"output_ids": "A", "meta_info": {}},
    event([65], output_ids=7),
    event([65], output_ids=["A"]),
    event([65], output_ids=[4000]),
    event([65], "stop"),
    event([], {"type": "weather"}),
    event([65], {"type": "length"}, output_ids=[]),
]


@pytest.mark.parametrize("fault", [Garbage(BAD_JSON, after=1), *map(events, MALFORMED)])
async def test_a_malformed_event_is_an_engine_error(fault: Fault) -> None:
    async with serving(fault) as server, engine_of(server) as engine:
        with pytest.raises(EngineError) as caught:
            await read(engine, Request(PROMPT, GREEDY))
        assert type(caught.value) is EngineError


@pytest.mark.parametrize("fault", [Stall(), Stall(1)])
async def test_a_silent_server_is_disconnected(fault: Fault) -> None:
    async with serving(fault) as server, engine_of(server, idle_seconds=1.0) as engine:
        request = Request(PROMPT, GREEDY)
        with pytest.raises(EngineUnavailable, match="silent"):
            await read(engine, request)
        await server.until(lambda: aborted(server) == [request.request_id])


async def test_an_unreachable_server() -> None:
    async with serving() as server:
        pass
    with pytest.raises(EngineUnavailable) as caught:
        async with engine_of(server):
            pass
    line = f"no server answers at {server.url}: start it, or check the address"
    assert str(caught.value) == line


async def test_a_server_that_crashes_during_a_stream() -> None:
    async with serving(Crash(1)) as server, engine_of(server) as engine:
        with pytest.raises(TruncatedStream):
            await read(engine, Request(PROMPT, GREEDY))
        with pytest.raises(EngineUnavailable, match="no server answers"):
            await read(engine, Request(PROMPT, GREEDY))
        assert engine.in_flight == 0


@pytest.mark.parametrize("url", ["127.0.0.1:1", "http://[", "http://h:port", "ftp://127.0.0.1"])
async def test_a_bad_address(url: str) -> None:
    with pytest.raises(EngineUnavailable):
        async with SGLangEngine(url, tokenizer=CharTokenizer()):
            pass


async def test_a_server_that_goes_away() -> None:
    async with serving() as server:
        engine = await engine_of(server).__aenter__()
    with pytest.raises(EngineUnavailable, match="no server answers"):
        await read(engine, Request(PROMPT, GREEDY))
    await engine.__aexit__(None, None, None)
    with pytest.raises(EngineUnavailable, match="not entered"):
        await read(engine, Request(PROMPT, GREEDY))


async def test_leaving_the_engine_ends_its_streams_with_an_engine_error() -> None:
    errors: list[SprintError] = []

    async def read_on(engine: SGLangEngine) -> None:
        with pytest.raises(EngineError) as caught:
            await read(engine, Request(PROMPT, GREEDY))
        errors.append(caught.value)

    async with serving(Stall(1)) as server, anyio.create_task_group() as group:
        async with engine_of(server) as engine:
            group.start_soon(read_on, engine)
            await server.until(lambda: server.requests)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert len(errors) == 1
