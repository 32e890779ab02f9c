"""What servers refuse and how they fail, on every engine of a server. Users have reported each."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

pytest.importorskip("openai")

from sprint_agent.errors import (
    ContextTooLong,
    EngineError,
    EngineUnavailable,
    RequestRefused,
    TruncatedStream,
)
from sprint_agent.testing import (
    Failure,
    FaultServer,
    Refused,
    Status,
    TooManyTokens,
    Truncated,
    Unfinished,
    Unstreamed,
)
from tests.faults.servers import KINDS, OPENAI, TEXT, answered, engine_of, failed, read

pytestmark = pytest.mark.anyio


# --- what servers refuse --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OPENAI)
async def test_the_usual_sampling_sends_no_top_p(kind: str) -> None:
    async with FaultServer(lambda prompt: TEXT) as server, engine_of(server, kind) as engine:
        server.fail(Refused("top_p"))
        await read(engine, kind)
        await read(engine, kind, top_p=0.9)
        assert [request.body.get("top_p") for request in server.requests] == [None, 0.9, None]


WORDINGS = [
    "`{parameter}` is deprecated for this model.",
    "Unsupported parameter(s): `{parameter}`",
    "Unrecognized request argument supplied: {parameter}",
    "{parameter}: Extra inputs are not permitted",
    'Invalid JSON payload received. Unknown name "{parameter}": Cannot find field.',
    "unknown field `{parameter}`, expected one of `model`, `seed`, `top_p`",
    "create() got an unexpected keyword argument '{parameter}'",
]


@pytest.mark.parametrize("kind", OPENAI)
@pytest.mark.parametrize("message", WORDINGS)
async def test_a_refused_parameter_is_left_out_from_then_on(kind: str, message: str) -> None:
    async with FaultServer(lambda prompt: TEXT) as server, engine_of(server, kind) as engine:
        server.fail(Refused("temperature", message))
        for _ in range(2):
            assert (await read(engine, kind))[0] == TEXT
        sent = ["temperature" in request.body for request in server.requests]
        assert sent == [True, False, False]


@pytest.mark.parametrize("kind", OPENAI)
async def test_a_refusal_that_names_the_place_of_a_parameter(kind: str) -> None:
    detail = b'{"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra"}]}'
    async with FaultServer(lambda prompt: TEXT) as server, engine_of(server, kind) as engine:
        server.fail(Refused("seed", code=422, body=detail))
        await read(engine, kind, seed=7)
        assert ["seed" in request.body for request in server.requests] == [True, False]


@pytest.mark.parametrize("kind", OPENAI)
async def test_a_refusal_inside_a_stream(kind: str) -> None:
    async with FaultServer(lambda prompt: TEXT) as server, engine_of(server, kind) as engine:
        server.fail(Failure("Unsupported parameter: 'temperature'", 400, form="field"))
        assert (await read(engine, kind))[0] == TEXT
        assert ["temperature" in request.body for request in server.requests] == [True, False]


@pytest.mark.parametrize("kind", OPENAI)
async def test_requests_at_the_same_time_learn_together(kind: str) -> None:
    async with FaultServer(lambda prompt: TEXT) as server, engine_of(server, kind) as engine:
        server.fail(
            Refused("seed"), Refused("temperature"), Refused("top_p"), Refused("stream_options")
        )
        async with anyio.create_task_group() as group:
            for number in range(6):
                chosen: dict[str, Any] = [{"seed": 1}, {"top_p": 0.5}, {}][number % 3]
                group.start_soon(lambda chosen=chosen: read(engine, kind, **chosen))
        server.requests.clear()
        await read(engine, kind, seed=1, top_p=0.5)
        assert len(server.requests) == 1


@pytest.mark.parametrize("kind", OPENAI)
async def test_a_server_that_does_not_stream(kind: str) -> None:
    async with FaultServer(lambda prompt: TEXT) as server, engine_of(server, kind) as engine:
        server.fail(Refused("stream"))
        text, finish = await read(engine, kind)
        assert (text, finish.reason) == (TEXT, "end")
        assert not server.requests[-1].body.keys() & {"stream", "stream_options"}


@pytest.mark.parametrize("kind", OPENAI)
@pytest.mark.parametrize(
    ("message", "then"),
    [
        ("max_tokens is too large: {asked}. At most {most} completion tokens are supported", 128),
        ("max_tokens: {asked} > {most}, which is the maximum allowed number of output tokens", 128),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, {most}]", 128),
        ("`max_new_tokens` exceeds the limit", 125),
    ],
)
async def test_a_server_that_is_asked_for_too_many_tokens(
    kind: str, message: str, then: int
) -> None:
    async with FaultServer(lambda prompt: TEXT) as server, engine_of(server, kind) as engine:
        server.fail(TooManyTokens(128, message))
        for _ in range(2):
            assert (await read(engine, kind, max_tokens=500))[0] == TEXT
        asked = [request.body["max_tokens"] for request in server.requests]
        assert asked[0] == 500
        assert asked[-2:] == [then, then]
        assert len(asked) <= 4


# --- errors ---------------------------------------------------------------------------------------

TRANSIENT: list[Failure] = [
    Failure("no", 503),
    Failure("no", "503", after=2),
    Failure("no", "429"),
    Failure("no", None, kind="overloaded_error", form="event"),
    Failure("no", None, kind="server_error"),
    Failure("no", "rate_limit_exceeded", kind="tokens"),
    Failure("no", None, kind="UNAVAILABLE"),
    Failure("The engine is currently overloaded", None),
]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_inside_a_stream_is_transient_by_its_code_or_its_type(kind: str) -> None:
    for fault in TRANSIENT:
        error = await failed(kind, fault)
        assert isinstance(error, EngineUnavailable), fault
        assert error.transient, fault


FULL = "the request exceeds the available context size (4096)"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["data", "event", "field", "line"])
async def test_an_error_inside_a_stream_is_what_it_says(kind: str, form: Any) -> None:
    error = await failed(kind, Failure(FULL, 400, form=form))
    assert type(error) is ContextTooLong
    assert FULL in str(error)
    error = await failed(kind, Failure("no such adapter", 400, after=2, form=form))
    assert type(error) is RequestRefused
    assert "no such adapter" in str(error)


LOGIN = b"<!DOCTYPE html><html><head><title>Please log in</title></head><body>..</body></html>"
BODIES: list[tuple[bytes, type[EngineError], bool, str]] = [
    (b'{"error": {"message": "no such adapter", "code": 400}}', RequestRefused, False, "adapter"),
    (b'{"error": {"message": "busy", "type": "server_error"}}', EngineUnavailable, True, "busy"),
    (b'[{"error": {"message": "busy", "status": "UNAVAILABLE"}}]', EngineUnavailable, True, "busy"),
    (b'{"detail": "no such adapter"}', EngineError, False, "adapter"),
    (LOGIN, EngineUnavailable, False, "web page.*Please log in"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("body", "error", "transient", "words"), BODIES)
async def test_what_a_server_sends_in_place_of_a_stream(
    kind: str, body: bytes, error: type[EngineError], transient: bool, words: str
) -> None:
    for content_type in ("text/html", "text/event-stream", "application/json"):
        fault = Status(200, body=body, headers={"content-type": content_type})
        with pytest.raises(error, match=words) as caught:
            await answered(kind, fault)
        assert type(caught.value) is error
        assert caught.value.transient is transient


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_in_one_piece(kind: str) -> None:
    text, finish = await answered(kind, Unstreamed())
    assert (text, finish.reason) == (TEXT, "end")
    assert finish.usage.completion_tokens == len(TEXT) + 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_that_ends_too_early_shows_what_else_came(kind: str) -> None:
    for fault in (Unfinished(3), Unfinished(3, done=True), Truncated(3)):
        assert type(await failed(kind, fault)) is TruncatedStream


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "2000"}, 2.0),
        ({"retry-after": "2s"}, 2.0),
        ({"x-ratelimit-reset-tokens": "1m2s", "x-ratelimit-reset-requests": "3s"}, 3.0),
        ({"retry-after": "Sun, 22 Nov 99999999999999999999 12:00:30 GMT"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30"}, 0.0),
    ],
)
async def test_when_a_busy_server_wants_to_be_asked_again(
    kind: str, headers: dict[str, str], seconds: float | None
) -> None:
    error = await failed(kind, Status(429, headers=headers))
    assert error.transient
    assert error.retry_after == seconds
