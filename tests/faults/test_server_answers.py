"""Answers that servers write in odd ways, on every engine of a server. Users have reported each."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("openai")

from sprint_agent import Limits, Prices, Sprint
from sprint_agent.engine import Sampling
from sprint_agent.errors import (
    EngineError,
    EngineStalled,
    EngineUnavailable,
    RequestRefused,
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
    Reply,
    ScriptedEngine,
    Stall,
    Status,
    Unlimited,
    Unstreamed,
)
from tests.faults.servers import (
    FIRST,
    KINDS,
    SECOND,
    SMILE,
    TEXT,
    answered,
    engine_of,
    failed,
    read,
)
from tests.script import Scripted, answer, execution_of, plan

pytestmark = pytest.mark.anyio


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
