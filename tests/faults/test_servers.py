"""What servers do wrong, tried on every engine of a server. Users have reported each of these faults."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import anyio
import pytest

pytest.importorskip("openai")

from sprint_agent import Limits, Prices, Sprint
from sprint_agent.engine import Finish, Request, Sampling
from sprint_agent.engines import OpenAIEngine, SGLangEngine
from sprint_agent.errors import (
    ContextTooLong,
    EngineError,
    EngineStalled,
    EngineUnavailable,
    RequestRefused,
    TruncatedStream,
)
from sprint_agent.testing import (
    Aborted,
    CharTokenizer,
    EarlyFinish,
    Failure,
    Fault,
    FaultServer,
    FinishedAs,
    Heartbeats,
    Miscounted,
    Noise,
    Parts,
    Refused,
    Reply,
    ScriptedEngine,
    Stall,
    Status,
    TooManyTokens,
    Truncated,
    Unfinished,
    Unlimited,
    Unstreamed,
)
from tests.script import Scripted, answer, execution_of, plan

pytestmark = pytest.mark.anyio

KINDS = ["chat", "completions", "sglang"]
OPENAI = ["chat", "completions"]
TEXT = r"\boxed{42 is the answer}"
SMILE = "\N{GRINNING FACE}"
FIRST, SECOND = "\ud83d", "\ude00"
"""The halves of SMILE. They are separate ids of the server, and come in separate events."""


def engine_of(server: FaultServer, kind: str, **settings: Any) -> OpenAIEngine | SGLangEngine:
    if kind == "sglang":
        return SGLangEngine(server.url, tokenizer=CharTokenizer(), **settings)
    mode: Any = kind
    return OpenAIEngine(f"{server.url}/v1", model="scripted", mode=mode, **settings)


def request(kind: str, **sampling: Any) -> Request:
    prompt = "What?"
    chosen = Sampling(**{"max_tokens": 200, **sampling})
    return Request(tuple(CharTokenizer().encode(prompt)) if kind == "sglang" else prompt, chosen)


async def read(
    engine: OpenAIEngine | SGLangEngine, kind: str, **sampling: Any
) -> tuple[str, Finish]:
    text = ""
    async with engine.generate(request(kind, **sampling)) as stream:
        async for event in stream:
            if isinstance(event, Finish):
                return text, event
            text += event.text
    raise AssertionError("there was no finish")


async def answered(
    kind: str,
    *faults: Fault,
    text: str = TEXT,
    settings: dict[str, Any] | None = None,
    **sampling: Any,
) -> tuple[str, Finish]:
    """Returns the text and the finish of one request to a server with faults."""
    async with FaultServer(lambda prompt: text) as server:
        server.fail(*faults)
        async with engine_of(server, kind, **(settings or {})) as engine:
            with anyio.fail_after(30):
                return await read(engine, kind, **sampling)


async def failed(kind: str, *faults: Fault, **settings: Any) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await answered(kind, *faults, settings=settings)
    return caught.value


# --- text ---------------------------------------------------------------------------------------


def halves(prompt: str) -> str:
    if execution_of(prompt) is not None or "Your task:" in prompt:
        return f"did {FIRST}{SECOND} and {SECOND}."
    if "did " in prompt:
        return answer(f"{FIRST}{SECOND}{FIRST}")
    return plan(f"one {FIRST}{SECOND}", f"two {FIRST}")


@pytest.mark.parametrize("kind", KINDS)
async def test_halves_of_characters_are_joined_and_single_ones_replaced(kind: str) -> None:
    async with FaultServer(halves) as server:
        result = await Sprint(engine_of(server, kind)).solve("What?")
    result.text.encode()
    assert result.answer == f"{SMILE}\ufffd"
    (stage,) = result.stages
    assert [prompt.text for prompt in stage.prompts] == [f"one {SMILE}", "two \ufffd"]
    assert stage.executions[0].text.strip() == f"did {SMILE} and \ufffd."


@pytest.mark.parametrize("tokenizer", [CharTokenizer(), None])
async def test_so_they_are_of_any_engine(tokenizer: CharTokenizer | None) -> None:
    turns: list[str | Reply] = [plan("a"), answer(f"{SECOND}{FIRST}{SECOND}{FIRST}")]
    result = await Sprint(ScriptedEngine(Scripted(turns), tokenizer=tokenizer)).solve("What?")
    assert result.answer == f"\ufffd{SMILE}\ufffd"


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_of_a_server_can_be_encoded(kind: str) -> None:
    str(await failed(kind, Status(400, message=f"no {FIRST}"))).encode()
    str(await failed(kind, Failure(f"no {FIRST}", 400))).encode()


async def test_a_content_of_parts() -> None:
    text, finish = await answered("chat", Parts())
    assert text == TEXT
    text, _ = await answered("chat", Parts(), Unstreamed())
    assert (text, finish.reason) == (TEXT, "end")


# --- the end of an answer -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reason", ["stop", "length"])
async def test_a_finish_reason_in_each_event_cuts_nothing(kind: str, reason: str) -> None:
    text, finish = await answered(kind, EarlyFinish(reason))
    assert text == TEXT
    assert finish.reason == ("end" if reason == "stop" else "length")


ENDS = ["stop", "eos", "eos_token", "stop_sequence", "end_turn", "STOP", "END-TURN", "complete"]
LENGTHS = ["length", "model_length", "MAX_TOKENS", "max_new_tokens"]
FAILURES = ["insufficient_system_resource", "network_error", "cancelled", "Timeout"]


@pytest.mark.parametrize("kind", KINDS)
async def test_finish_reasons_of_other_servers(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    for reason in ENDS:
        text, finish = await answered(kind, FinishedAs(reason))
        assert (text, finish.reason) == (TEXT, "end")
    for reason in LENGTHS:
        text, finish = await answered(kind, FinishedAs(reason))
        assert (text, finish.reason) == (TEXT, "length")
    for reason in FAILURES:
        error = await failed(kind, FinishedAs(reason))
        assert error.transient
        assert reason in str(error)
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "sprint_agent.engines"):
        text, finish = await answered(kind, FinishedAs("weather"))
    assert (text, finish.reason) == (TEXT, "end")
    assert "'weather'" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
async def test_an_unknown_finish_reason_without_text_is_an_error(kind: str) -> None:
    with pytest.raises(EngineError, match="'weather'"):
        await answered(kind, FinishedAs("weather"), text="")


async def test_an_abort_without_a_status_may_be_tried_again() -> None:
    for status in (None, 503, "503"):
        error = await failed("sglang", Aborted(status, "weights were replaced", after=3))
        assert isinstance(error, EngineUnavailable)
        assert error.transient
        assert "weights were replaced" in str(error)
    error = await failed("sglang", Aborted(400, "no such thing"))
    assert type(error) is RequestRefused
    assert not error.transient


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_is_handed_over_if_its_stream_does_not_end(kind: str) -> None:
    text, finish = await answered(kind, Heartbeats(finish=True))
    assert (text, finish.reason) == (TEXT, "end")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", [b": ping\n\n", b"data: {}\n\n", b"event: ping\ndata: {}\n\n"])
async def test_heartbeats_are_no_progress(kind: str, data: bytes) -> None:
    for after in (0, 3):
        error = await failed(kind, Heartbeats(after, data=data), idle_seconds=0.3)
        assert type(error) is EngineStalled
        assert "silent for 0.3 s" in str(error)
        assert "idle_seconds" in str(error)


@pytest.mark.parametrize("kind", KINDS)
async def test_silence_is_a_stall_too(kind: str) -> None:
    for fault in (Stall(), Stall(0), Stall(3)):
        assert type(await failed(kind, fault, idle_seconds=0.3)) is EngineStalled


NOISE = [
    b"data:\n\n",
    b"data\n\n",
    b"data: {}\n\n",
    b'event: ping\ndata: {"type": "ping"}\n\n',
    b"event: heartbeat\ndata: now\n\n",
    b'data: {"type": "ping"}\n\n',
    b'data: {"error": null}\n\n',
    b"id: 7\nretry: 10\n\n",
]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_no_event_is_passed_over(kind: str) -> None:
    for data in NOISE:
        text, finish = await answered(kind, Noise(data))
        assert (text, finish.reason) == (TEXT, "end"), data


# --- usage --------------------------------------------------------------------------------------

MISCOUNTED = [
    Miscounted(prompt=-5, completion=-5, cached=-5),
    Miscounted(prompt=3, completion=0, cached=900),
    Miscounted(prompt=None, completion=None, cached=None),
    Miscounted(prompt=10**30, completion=0, cached=10**30),
    Miscounted(prompt=2.0, completion=1.0, cached=3.0),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", MISCOUNTED)
async def test_usage_is_possible_whatever_a_server_says(kind: str, fault: Fault) -> None:
    for faults in ([fault], [Unstreamed()]):
        _, finish = await answered(kind, *faults)
        usage = finish.usage
        assert 0 <= usage.cached_tokens <= usage.prompt_tokens < 10**9
        assert usage.completion_tokens >= (len(TEXT) if faults == [fault] else 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", MISCOUNTED[:3])
async def test_limits_do_not_depend_on_what_a_server_counts(kind: str, fault: Fault) -> None:
    def script(prompt: str) -> str:
        return "x" * 50 if execution_of(prompt) or "Your task:" in prompt else plan("a")

    fault = Miscounted(fault.prompt, fault.completion, fault.cached, times=None)  # type: ignore[attr-defined]
    async with FaultServer(script) as server:
        server.fail(fault)
        engine = engine_of(server, kind)
        limits = Limits(tokens=400, stages=50)
        result = await Sprint(engine, limits=limits, sampling=Sampling(max_tokens=200)).solve(
            "What?"
        )
        assert result.limit == "tokens"
        assert result.usage.completion_tokens <= 400
        assert len(server.requests) < 20
        engine = engine_of(server, kind)
        dear = Prices(prompt=0.0, completion=1e6)
        result = await Sprint(engine, limits=Limits(cost=300), prices=dear).solve("What?")
        assert result.limit == "cost"
        assert result.cost is not None
        assert 0 <= result.cost <= 300


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_ignores_max_tokens_is_cut_off(kind: str) -> None:
    long = "word " * 400
    async with FaultServer(lambda prompt: long) as server, engine_of(server, kind) as engine:
        server.fail(Unlimited())
        text, finish = await read(engine, kind, max_tokens=100)
        assert text == long[:100]
        assert (finish.reason, finish.usage.completion_tokens) == ("length", 100)
        await server.until(lambda: server.in_flight == 0)


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


# --- addresses and the environment ---------------------------------------------------------------


def address(kind: str, url: str) -> OpenAIEngine | SGLangEngine:
    if kind == "sglang":
        return SGLangEngine(url, tokenizer=CharTokenizer())
    mode: Any = kind
    return OpenAIEngine(url, model="m", mode=mode)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks://127.0.0.1:1"),
        ("ALL_PROXY", "socks5://user:secret@127.0.0.1:1"),
        ("HTTP_PROXY", "http://user:secret@127.0.0.1:port"),
        ("SSL_CERT_FILE", "/there/is/none.pem"),
    ],
)
async def test_a_variable_of_the_environment_that_cannot_be_used_is_named(
    kind: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in (
        "ALL_PROXY",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "no_proxy",
        "SSL_CERT_FILE",
    ):
        monkeypatch.delenv(other, raising=False)
        monkeypatch.delenv(other.lower(), raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(EngineUnavailable, match=name) as caught:
        async with address(kind, "http://127.0.0.1:1"):
            pass
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@127.0.0.1:1",
        "http://user:secret@h:port",
        "http://user:secret@[",
        "http://127.0.0.1:1?key=secret",
        "ftp://user:secret@h",
    ],
)
async def test_a_secret_in_an_address_is_never_shown(kind: str, url: str) -> None:
    engine = address(kind, url)
    assert "secret" not in repr(engine)
    assert "secret" not in repr(Sprint(engine))
    with pytest.raises(EngineUnavailable) as caught:
        async with engine:
            pass
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", OPENAI)
async def test_a_key_that_a_server_repeats_is_not_shown(kind: str) -> None:
    async with FaultServer(lambda prompt: TEXT) as server:
        server.fail(Status(401, message="the key sk-very-secret is wrong"))
        server.fail(Failure("the key sk-very-secret is wrong", 400))
        async with engine_of(server, kind, api_key="sk-very-secret") as engine:
            for _ in range(2):
                with pytest.raises(EngineError) as caught:
                    await read(engine, kind)
                error: BaseException | None = caught.value
                while error is not None:
                    assert "sk-very-secret" not in str(error)
                    error = error.__cause__


# --- leaving ---------------------------------------------------------------------------------------


async def test_an_abort_that_is_not_answered_delays_nobody() -> None:
    async with FaultServer(lambda prompt: TEXT) as server, engine_of(server, "sglang") as engine:
        server.fail(Stall(3, times=None), Stall(path="/abort_request", times=None))
        left: list[float] = []
        for _ in range(8):
            async with engine.generate(request("sglang")) as stream:
                await anext(stream)
                began = anyio.current_time()
            left.append(anyio.current_time() - began)
        assert min(left) < 0.1
        assert engine.in_flight == 0


@pytest.mark.parametrize("what", [Stall, lambda **at: Status(500, **at)])
async def test_a_deadline_counts_more_than_an_abort_that_fails(what: Callable[..., Fault]) -> None:
    def script(prompt: str) -> Reply:
        return Reply(plan("a", "b") if execution_of(prompt) is None else "x", hang=True)

    async with FaultServer(script, chunk=1000) as server:
        server.fail(what(path="/abort_request", times=None))
        agent = Sprint(engine_of(server, "sglang"), limits=Limits(deadline=0.5))
        result = await agent.solve("What?")
        assert result.limit == "deadline"
