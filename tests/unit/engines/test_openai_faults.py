"""The OpenAI engine on a server with faults, and with readers that leave early."""

from __future__ import annotations

import time
from email.utils import formatdate

import anyio
import httpx2
import openai
import pytest

from sprint_agent.engine import Request
from sprint_agent.engines import OpenAIEngine, http_client
from sprint_agent.engines.openai.server import Mode
from sprint_agent.errors import (
    EngineError,
    EngineUnavailable,
    RequestRefused,
    SprintError,
    TruncatedStream,
)
from tests.unit.engines.fake_openai import (
    ANSWER,
    GREEDY,
    MODES,
    PROMPT,
    Behaviour,
    Body,
    ResponseWriter,
    Server,
    breaks_off,
    chunk,
    crashes,
    events,
    generates,
    read,
    serving,
    silent,
    silent_after_begin,
    status,
)

pytestmark = pytest.mark.anyio


class Left(Exception):
    pass


@pytest.mark.parametrize("mode", MODES)
async def test_leaving_early_closes_the_stream(mode: Mode) -> None:
    async with serving(generates(ANSWER, stall_at=3)) as server, server.engine(mode) as engine:
        async with engine.generate(Request(PROMPT, GREEDY)) as stream:
            async for _ in stream:
                break
        await server.disconnected.wait()
        assert engine.in_flight == 0
        server.disconnected = anyio.Event()
        with pytest.raises(Left):
            async with engine.generate(Request(PROMPT, GREEDY)):
                raise Left
        await server.disconnected.wait()
        assert engine.in_flight == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("behaviour", [silent, silent_after_begin, generates(ANSWER, stall_at=3)])
async def test_a_cancelled_reader_closes_the_stream(behaviour: Behaviour, mode: Mode) -> None:
    async with serving(behaviour) as server, server.engine(mode) as engine:
        async with anyio.create_task_group() as group:
            group.start_soon(read, engine, Request(PROMPT, GREEDY))
            await server.received.wait()
            group.cancel_scope.cancel()
        await server.disconnected.wait()
        assert engine.in_flight == 0


async def test_a_server_that_never_ends_its_body_does_not_delay_the_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def behave(server: Server, response: ResponseWriter, body: Body) -> None:
        await generates("so", done=False)(server, _Endless(response.socket, response.drip), body)
        await server.wait_for_disconnect(response)

    monkeypatch.setattr(http_client, "_CLOSE_SECONDS", 0.2)
    async with serving(behave) as server, server.engine() as engine:
        with anyio.fail_after(30):
            text, _, _ = await read(engine, Request(PROMPT, GREEDY))
        assert text == "so"
        await server.disconnected.wait()


class _Endless(ResponseWriter):
    """A response that is never ended."""

    async def end_stream(self) -> None:
        pass


TRUNCATED: list[Behaviour] = [
    events(lambda body: chunk(body, "A")),
    events(lambda body: chunk(body, "A"), "[DONE]"),
    events(lambda body: chunk(body, "A", "")),
    events(),
    events({"text": "A"}),
    breaks_off,
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("behaviour", TRUNCATED)
async def test_a_stream_without_a_finish_reason_is_truncated(
    behaviour: Behaviour, mode: Mode
) -> None:
    async with serving(behaviour) as server, server.engine(mode) as engine:
        with pytest.raises(TruncatedStream) as caught:
            await read(engine, Request(PROMPT, GREEDY))
        assert caught.value.transient
        assert engine.in_flight == 0


async def test_an_event_without_a_blank_line_is_incomplete() -> None:
    async def behave(server: Server, response: ResponseWriter, body: Body) -> None:
        await response.start_stream()
        await response.send_chunk(b'data: {"choices": [{"text": "A", "finish_reason": "stop"}]}\n')
        await response.end_stream()

    async with serving(behave) as server, server.engine() as engine:
        with pytest.raises(TruncatedStream):
            await read(engine, Request(PROMPT, GREEDY))


NO = '{"error": {"message": "no such thing"}}'
STATUSES: list[tuple[Behaviour, type[EngineError], bool, float | None]] = [
    (status(400, NO), RequestRefused, False, None),
    (status(422, '{"detail": "no such thing"}'), RequestRefused, False, None),
    (status(401, NO), RequestRefused, False, None),
    (status(404, "no such\nthing"), RequestRefused, False, None),
    (status(408, NO), EngineUnavailable, True, None),
    (status(429, NO, retry_after="7"), EngineUnavailable, True, 7.0),
    (status(429, NO, retry_after="soon"), EngineUnavailable, True, None),
    (status(500, '{"message": "no such thing"}'), EngineUnavailable, True, None),
    (status(503, "no such thing", retry_after="0.5"), EngineUnavailable, True, 0.5),
    (status(307, "no such thing", location="/x"), EngineError, False, None),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("behaviour", "error", "transient", "after"), STATUSES)
async def test_error_statuses(
    behaviour: Behaviour, error: type[EngineError], transient: bool, after: float | None, mode: Mode
) -> None:
    async with serving(behaviour) as server, server.engine(mode) as engine:
        with pytest.raises(EngineError, match="no such thing") as caught:
            await read(engine, Request(PROMPT, GREEDY))
        assert type(caught.value) is error
        assert (caught.value.transient, caught.value.retry_after) == (transient, after)
        assert isinstance(caught.value.__cause__, openai.APIStatusError)
        assert len(server.requests) == 1
        assert engine.in_flight == 0


async def test_a_retry_after_date() -> None:
    date = formatdate(time.time() + 40, usegmt=True)
    async with serving(status(429, NO, retry_after=date)) as server, server.engine() as engine:
        with pytest.raises(EngineUnavailable) as caught:
            await read(engine, Request(PROMPT, GREEDY))
    assert caught.value.retry_after is not None
    assert 20 < caught.value.retry_after <= 40


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"error": {"message": "no such thing", "code": 400}}, RequestRefused),
        ({"error": {"message": "no such thing", "code": 503}}, EngineUnavailable),
        ({"error": {"message": "no such thing", "code": "overloaded"}}, EngineUnavailable),
        ({"error": {"message": "no such thing", "code": "weather"}}, EngineError),
        ({"error": "no such thing"}, EngineError),
        ({"object": "error", "message": "no such thing", "code": 400}, RequestRefused),
    ],
)
async def test_an_error_inside_a_stream(event: object, error: type[EngineError]) -> None:
    behaviour = events(lambda body: chunk(body, "A"), event)
    async with serving(behaviour) as server, server.engine() as engine:
        with pytest.raises(EngineError, match="no such thing") as caught:
            await read(engine, Request(PROMPT, GREEDY))
        assert type(caught.value) is error


MALFORMED: list[object] = [
    "{",
    "[1]",
    "null",
    "[" * 100_000,
    "{}\ndata: {}",
    {"choices": "A"},
    {"choices": ["A"]},
    {"choices": [{"text": 7, "finish_reason": None}]},
    {"choices": [{"delta": "A"}]},
    {"choices": [{"delta": {"content": [7]}}]},
    {"choices": [{"delta": {"content": [{"text": 7}]}}]},
    {"choices": [{"text": "A", "finish_reason": 1}]},
    {"choices": [{"text": "", "finish_reason": "weather"}]},
]


@pytest.mark.parametrize("event", MALFORMED)
async def test_a_malformed_event_is_an_engine_error(event: object) -> None:
    async with serving(events(event)) as server, server.engine() as engine:
        with pytest.raises(EngineError) as caught:
            await read(engine, Request(PROMPT, GREEDY))
        assert type(caught.value) is EngineError


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        ([lambda body: chunk(body, "A", "content_filter")], "content filter"),
        ([lambda body: chunk(body, None, "tool_calls")], "called a tool"),
        (
            [
                lambda body: chunk(body, None, refusal="I will "),
                lambda body: chunk(body, None, refusal="not."),
                lambda body: chunk(body, None, "stop"),
            ],
            "refused: I will not.",
        ),
    ],
)
async def test_a_reply_that_is_not_an_answer(stream: list[object], words: str) -> None:
    async with serving(events(*stream, "[DONE]")) as server, server.engine("chat") as engine:
        with pytest.raises(EngineError, match=words):
            await read(engine, Request(PROMPT, GREEDY))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("behaviour", [silent, silent_after_begin])
async def test_a_silent_server_is_disconnected(behaviour: Behaviour, mode: Mode) -> None:
    async with serving(behaviour) as server, server.engine(mode, idle_seconds=1.0) as engine:
        with pytest.raises(EngineUnavailable, match="silent for 1 s"):
            await read(engine, Request(PROMPT, GREEDY))
        await server.disconnected.wait()


async def test_an_unreachable_server() -> None:
    async with serving(generates(ANSWER)) as server:
        pass
    with pytest.raises(EngineUnavailable) as caught:
        async with server.engine():
            pass
    line = f"no server answers at {server.url}: start it, or check the address"
    assert str(caught.value) == line
    assert caught.value.transient
    assert isinstance(caught.value.__cause__, openai.APIConnectionError)


async def test_a_server_that_crashes_during_a_stream() -> None:
    async with serving(crashes) as server, server.engine() as engine:
        with pytest.raises(TruncatedStream) as caught:
            await read(engine, Request(PROMPT, GREEDY))
        assert isinstance(caught.value.__cause__, httpx2.HTTPError)
        with pytest.raises(EngineUnavailable, match="no server answers"):
            await read(engine, Request(PROMPT, GREEDY))
        assert engine.in_flight == 0


@pytest.mark.parametrize("url", ["127.0.0.1:1", "http://[", "http://h:port", "ftp://127.0.0.1"])
async def test_a_bad_address(url: str) -> None:
    with pytest.raises(EngineUnavailable):
        async with OpenAIEngine(url, model="m"):
            pass


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ((401, NO), "api_key="),
        ((500, NO), "failed"),
        ((200, "<html>"), "not OpenAI-compatible"),
        ((200, "[1]"), "not OpenAI-compatible"),
    ],
)
async def test_a_server_that_cannot_be_entered(models: tuple[int, str], words: str) -> None:
    async with serving(generates("so"), models=models) as server:
        with pytest.raises(EngineUnavailable, match=words):
            await server.engine().__aenter__()


@pytest.mark.parametrize(
    "models", [(404, NO), (403, NO), (200, "{}"), (200, '{"data": [1, {"id": "m"}]}')]
)
async def test_a_server_that_lists_no_models_can_be_used(models: tuple[int, str]) -> None:
    async with serving(generates("so"), models=models) as server, server.engine() as engine:
        text, _, _ = await read(engine, Request(PROMPT, GREEDY))
        assert (text, engine.context_length) == ("so", None)


async def test_an_engine_that_is_not_entered_or_entered_twice() -> None:
    async with serving(generates("so")) as server:
        engine = server.engine()
        with pytest.raises(EngineUnavailable, match="not entered"):
            await read(engine, Request(PROMPT, GREEDY))
        async with engine:
            with pytest.raises(EngineUnavailable, match="already been entered"):
                await engine.__aenter__()
            await read(engine, Request(PROMPT, GREEDY))
        with pytest.raises(EngineUnavailable, match="not entered"):
            _ = engine.context_length


async def test_leaving_the_engine_ends_its_streams_with_an_engine_error() -> None:
    errors: list[SprintError] = []

    async def read_on(engine: OpenAIEngine) -> None:
        with pytest.raises(EngineError) as caught:
            await read(engine, Request(PROMPT, GREEDY))
        errors.append(caught.value)

    async with serving(silent_after_begin) as server, anyio.create_task_group() as group:
        async with server.engine() as engine:
            group.start_soon(read_on, engine)
            await server.received.wait()
        await server.disconnected.wait()
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert len(errors) == 1
