"""The OpenAI engine, on a server that fails it, and for readers that leave."""

from __future__ import annotations

import time
from email.utils import formatdate

import anyio
import httpx2
import openai
import pytest

from sprint_agent.engine import Request
from sprint_agent.engines import http_client
from sprint_agent.engines.openai.engine import Mode, OpenAIEngine
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


class Left(Exception):
    pass


@pytest.mark.parametrize("mode", MODES)
async def test_leaving_early_closes_the_stream(mode: Mode) -> None:
    async with serving(says(ANSWER, hold_at=3)) as server, server.engine(mode) as engine:
        async with engine.generate(Request(PROMPT, GREEDY)) as stream:
            async for _ in stream:
                break
        await server.left.wait()
        assert engine.in_flight == 0
        server.left = anyio.Event()
        with pytest.raises(Left):
            async with engine.generate(Request(PROMPT, GREEDY)):
                raise Left
        await server.left.wait()
        assert engine.in_flight == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("speak", [silent, silent_after_begin, says(ANSWER, hold_at=3)])
async def test_a_cancelled_reader_closes_the_stream(speak: Behaviour, mode: Mode) -> None:
    async with serving(speak) as server, server.engine(mode) as engine:
        async with anyio.create_task_group() as group:
            group.start_soon(read, engine, Request(PROMPT, GREEDY))
            await server.seen.wait()
            group.cancel_scope.cancel()
        await server.left.wait()
        assert engine.in_flight == 0


async def test_a_server_that_never_ends_its_body_holds_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def behave(server: object, reply: object, asked: Body) -> None:
        await says("so", done=False)(server, _Endless(reply), asked)
        await server.hold(reply)

    monkeypatch.setattr(http_client, "_CLOSE_SECONDS", 0.2)
    async with serving(behave) as server, server.engine() as engine:
        with anyio.fail_after(30):
            text, _, _ = await read(engine, Request(PROMPT, GREEDY))
        assert text == "so"
        await server.left.wait()


class _Endless:
    """A reply that is never ended."""

    def __init__(self, reply: object) -> None:
        self._reply = reply

    def __getattr__(self, name: str) -> object:
        return getattr(self._reply, name)

    async def end(self) -> None:
        pass


TRUNCATED: list[Behaviour] = [
    events(lambda asked: chunk(asked, "A")),
    events(lambda asked: chunk(asked, "A"), "[DONE]"),
    events(lambda asked: chunk(asked, "A", "")),
    events(),
    breaks_off,
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("speak", TRUNCATED)
async def test_a_stream_without_a_finish_reason_is_truncated(speak: Behaviour, mode: Mode) -> None:
    async with serving(speak) as server, server.engine(mode) as engine:
        with pytest.raises(TruncatedStream) as caught:
            await read(engine, Request(PROMPT, GREEDY))
        assert caught.value.transient
        assert engine.in_flight == 0


async def test_events_that_no_blank_line_ends_are_no_answer() -> None:
    async def behave(server: object, reply: object, asked: Body) -> None:
        await reply.begin()
        await reply.raw(b'data: {"choices": [{"text": "A", "finish_reason": "stop"}]}\n')
        await reply.end()

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
@pytest.mark.parametrize(("speak", "error", "transient", "after"), STATUSES)
async def test_what_the_server_refuses(
    speak: Behaviour, error: type[EngineError], transient: bool, after: float | None, mode: Mode
) -> None:
    async with serving(speak) as server, server.engine(mode) as engine:
        with pytest.raises(EngineError, match="no such thing") as caught:
            await read(engine, Request(PROMPT, GREEDY))
        assert type(caught.value) is error
        assert (caught.value.transient, caught.value.retry_after) == (transient, after)
        assert isinstance(caught.value.__cause__, openai.APIStatusError)
        assert len(server.asked) == 1
        assert engine.in_flight == 0


async def test_a_date_to_come_back_at() -> None:
    date = formatdate(time.time() + 40, usegmt=True)
    async with serving(status(429, NO, retry_after=date)) as server, server.engine() as engine:
        with pytest.raises(EngineUnavailable) as caught:
            await read(engine, Request(PROMPT, GREEDY))
    assert caught.value.retry_after is not None
    assert 20 < caught.value.retry_after <= 40


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"error": {"message": "no such thing", "code": 400}}, RequestRefused),
        ({"error": {"message": "no such thing", "code": 503}}, EngineUnavailable),
        ({"error": {"message": "no such thing", "code": "overloaded"}}, EngineError),
        ({"error": "no such thing"}, EngineError),
        ({"object": "error", "message": "no such thing", "code": 400}, RequestRefused),
    ],
)
async def test_an_error_inside_a_stream(said: object, error: type[EngineError]) -> None:
    speak = events(lambda asked: chunk(asked, "A"), said)
    async with serving(speak) as server, server.engine() as engine:
        with pytest.raises(EngineError, match="no such thing") as caught:
            await read(engine, Request(PROMPT, GREEDY))
        assert type(caught.value) is error


MALFORMED: list[object] = [
    "{",
    "[1]",
    "null",
    "[" * 100_000,
    "{}\ndata: {}",
    {"text": "A"},
    {"choices": "A"},
    {"choices": ["A"]},
    {"choices": [{"text": 7, "finish_reason": None}]},
    {"choices": [{"delta": "A"}]},
    {"choices": [{"delta": {"content": ["A"]}}]},
    {"choices": [{"text": "A", "finish_reason": 1}]},
    {"choices": [{"text": "A", "finish_reason": "weather"}]},
]


@pytest.mark.parametrize("said", MALFORMED)
async def test_a_malformed_event_is_an_engine_error(said: object) -> None:
    async with serving(events(said)) as server, server.engine() as engine:
        with pytest.raises(EngineError) as caught:
            await read(engine, Request(PROMPT, GREEDY))
        assert type(caught.value) is EngineError


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([lambda asked: chunk(asked, "A", "content_filter")], "content filter"),
        ([lambda asked: chunk(asked, None, "tool_calls")], "called a tool"),
        (
            [
                lambda asked: chunk(asked, None, refusal="I will "),
                lambda asked: chunk(asked, None, refusal="not."),
                lambda asked: chunk(asked, None, "stop"),
            ],
            "refused: I will not.",
        ),
    ],
)
async def test_what_is_no_answer(said: list[object], words: str) -> None:
    async with serving(events(*said, "[DONE]")) as server, server.engine("chat") as engine:
        with pytest.raises(EngineError, match=words):
            await read(engine, Request(PROMPT, GREEDY))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("speak", [silent, silent_after_begin])
async def test_a_silent_server_is_left(speak: Behaviour, mode: Mode) -> None:
    async with serving(speak) as server, server.engine(mode, idle_seconds=1.0) as engine:
        with pytest.raises(EngineUnavailable, match="silent for 1 s"):
            await read(engine, Request(PROMPT, GREEDY))
        await server.left.wait()


async def test_an_unreachable_server() -> None:
    async with serving(says(ANSWER)) as server:
        pass
    with pytest.raises(EngineUnavailable) as caught:
        async with server.engine():
            pass
    line = f"no server answers at {server.url}: start it, or check the address"
    assert str(caught.value) == line
    assert caught.value.transient
    assert isinstance(caught.value.__cause__, openai.APIConnectionError)


async def test_a_server_that_dies_in_a_stream() -> None:
    async with serving(dies) as server, server.engine() as engine:
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
    async with serving(says("so"), models=models) as server:
        with pytest.raises(EngineUnavailable, match=words):
            await server.engine().__aenter__()


@pytest.mark.parametrize(
    "models", [(404, NO), (403, NO), (200, "{}"), (200, '{"data": [1, {"id": "m"}]}')]
)
async def test_a_server_that_lists_no_models_is_used_as_it_is(models: tuple[int, str]) -> None:
    async with serving(says("so"), models=models) as server, server.engine() as engine:
        text, _, _ = await read(engine, Request(PROMPT, GREEDY))
        assert (text, engine.context_length) == ("so", None)


async def test_an_engine_that_is_not_entered_or_twice() -> None:
    async with serving(says("so")) as server:
        engine = server.engine()
        with pytest.raises(EngineUnavailable, match="not entered"):
            await read(engine, Request(PROMPT, GREEDY))
        async with engine:
            with pytest.raises(EngineUnavailable, match="already been entered"):
                await engine.__aenter__()
            await read(engine, Request(PROMPT, GREEDY))
        with pytest.raises(EngineUnavailable, match="not entered"):
            _ = engine.context_length


async def test_leaving_the_engine_ends_its_streams_with_an_error_of_ours() -> None:
    errors: list[SprintError] = []

    async def read_on(engine: OpenAIEngine) -> None:
        with pytest.raises(EngineError) as caught:
            await read(engine, Request(PROMPT, GREEDY))
        errors.append(caught.value)

    async with serving(silent_after_begin) as server, anyio.create_task_group() as group:
        async with server.engine() as engine:
            group.start_soon(read_on, engine)
            await server.seen.wait()
        await server.left.wait()
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert len(errors) == 1
