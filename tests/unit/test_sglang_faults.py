"""The SGLang engine, on a server that fails it, and for readers that leave."""

from __future__ import annotations

import anyio
import pytest

from sprint_agent.engines import sglang
from sprint_agent.engines.base import Request
from sprint_agent.engines.sglang import SGLangEngine
from sprint_agent.errors import (
    EngineError,
    EngineUnavailable,
    RequestRefused,
    SprintError,
    TruncatedStream,
)
from tests.unit.fake_sglang import (
    ANSWER,
    GREEDY,
    PROMPT,
    Behaviour,
    CharTokenizer,
    breaks_off,
    chunk,
    dies,
    events,
    read,
    says,
    serving,
    silent,
    silent_after_begin,
    status,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Left(Exception):
    pass


async def test_leaving_early_aborts_the_request() -> None:
    async with serving(says(ANSWER, hold_at=3)) as server, server.engine() as engine:
        requests = [Request(PROMPT, GREEDY) for _ in range(3)]
        async with engine.generate(requests[0]) as stream:
            async for _ in stream:
                break
        assert server.aborted == [requests[0].request_id]
        with pytest.raises(Left):
            async with engine.generate(requests[1]):
                raise Left
        async with engine.generate(requests[2]):
            assert engine.in_flight == 1
        assert server.aborted == [request.request_id for request in requests]
        assert engine.in_flight == 0


@pytest.mark.parametrize("speak", [silent, silent_after_begin, says(ANSWER, hold_at=3)])
async def test_a_cancelled_reader_aborts_the_request(speak: Behaviour) -> None:
    async with serving(speak) as server, server.engine() as engine:
        request = Request(PROMPT, GREEDY)
        async with anyio.create_task_group() as group:
            group.start_soon(read, engine, request)
            await server.seen.wait()
            group.cancel_scope.cancel()
        assert server.aborted == [request.request_id]
        assert engine.in_flight == 0


async def test_a_server_that_leaves_aborts_unanswered_holds_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sglang, "_PARTING_SECONDS", 0.5)
    async with serving(says(ANSWER, hold_at=3), deaf=True) as server, server.engine() as engine:
        with anyio.fail_after(30):
            async with engine.generate(Request(PROMPT, GREEDY)) as stream:
                await anext(stream)


TRUNCATED: list[Behaviour] = [
    events(lambda body: chunk(body, [65])),
    events(lambda body: chunk(body, [65]), "[DONE]"),
    events(),
    breaks_off,
]


@pytest.mark.parametrize("speak", TRUNCATED)
async def test_a_stream_without_a_finish_reason_is_truncated(speak: Behaviour) -> None:
    async with serving(speak) as server, server.engine() as engine:
        request = Request(PROMPT, GREEDY)
        with pytest.raises(TruncatedStream):
            await read(engine, request)
        assert server.aborted == [request.request_id]
        assert engine.in_flight == 0


REFUSED: list[tuple[Behaviour, type[EngineError], bool]] = [
    (status(400, '{"error": {"message": "no such thing"}}'), RequestRefused, False),
    (status(422, '{"detail": "no such thing"}'), RequestRefused, False),
    (status(404, "no such\nthing"), RequestRefused, False),
    (status(500, '{"message": "no such thing"}'), EngineUnavailable, True),
    (status(503, "no such thing"), EngineUnavailable, True),
    (events({"error": {"message": "no such thing", "code": 400}}), RequestRefused, False),
    (events({"error": "no such thing"}), EngineError, True),
    (
        events(lambda body: chunk(body, [], {"type": "abort", "message": "no such thing"})),
        EngineError,
        False,
    ),
    (
        events(
            lambda body: chunk(
                body, [], {"type": "abort", "message": "no such thing", "status_code": 503}
            )
        ),
        EngineUnavailable,
        False,
    ),
]


@pytest.mark.parametrize(("speak", "error", "aborts"), REFUSED)
async def test_what_the_server_refuses(
    speak: Behaviour, error: type[EngineError], aborts: bool
) -> None:
    async with serving(speak) as server, server.engine() as engine:
        request = Request(PROMPT, GREEDY)
        with pytest.raises(EngineError, match="no such thing") as caught:
            await read(engine, request)
        assert type(caught.value) is error
        assert server.aborted == ([request.request_id] if aborts else [])


MALFORMED: list[object] = [
    "{",
    "[1]",
    "null",
    "[" * 100_000,
    {"text": "A"},
    {"output_ids": [65], "meta_info": None},
    {"output_ids": "A", "meta_info": {}},
    {"output_ids": [65], "meta_info": {"prompt_tokens": "1"}},
    lambda body: chunk(body, [65]) | {"output_ids": 7},
    lambda body: chunk(body, [65]) | {"output_ids": ["A"]},
    lambda body: chunk(body, [65]) | {"output_ids": [4000]},
    lambda body: chunk(body, [65], "stop"),
    lambda body: chunk(body, [65], {"type": "weather"}),
    lambda body: chunk(body, [65], {"type": "length"}) | {"output_ids": []},
]


@pytest.mark.parametrize("said", MALFORMED)
async def test_a_malformed_event_is_an_engine_error(said: object) -> None:
    async with serving(events(said)) as server, server.engine() as engine:
        with pytest.raises(EngineError) as caught:
            await read(engine, Request(PROMPT, GREEDY))
        assert type(caught.value) is EngineError


@pytest.mark.parametrize("speak", [silent, silent_after_begin])
async def test_a_silent_server_is_left(speak: Behaviour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sglang, "_IDLE_SECONDS", 1.0)
    async with serving(speak) as server, server.engine() as engine:
        request = Request(PROMPT, GREEDY)
        with pytest.raises(EngineUnavailable, match="silent"):
            await read(engine, request)
        assert server.aborted == [request.request_id]


async def test_an_unreachable_server() -> None:
    async with serving(says(ANSWER)) as server:
        pass
    with pytest.raises(EngineUnavailable) as caught:
        async with server.engine():
            pass
    line = f"no server answers at {server.url}: start it, or check the address"
    assert str(caught.value) == line


async def test_a_server_that_dies_in_a_stream() -> None:
    async with serving(dies) as server, server.engine() as engine:
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
    async with serving(says(ANSWER)) as server:
        engine = await server.engine().__aenter__()
    with pytest.raises(EngineUnavailable, match="no server answers"):
        await read(engine, Request(PROMPT, GREEDY))
    await engine.__aexit__(None, None, None)
    with pytest.raises(EngineUnavailable, match="not entered"):
        await read(engine, Request(PROMPT, GREEDY))


async def test_leaving_the_engine_ends_its_streams_with_an_error_of_ours() -> None:
    errors: list[SprintError] = []

    async def read_on(engine: SGLangEngine) -> None:
        with pytest.raises(EngineError) as caught:
            await read(engine, Request(PROMPT, GREEDY))
        errors.append(caught.value)

    async with serving(silent_after_begin) as server, anyio.create_task_group() as group:
        async with server.engine() as engine:
            group.start_soon(read_on, engine)
            await server.seen.wait()
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert len(errors) == 1
