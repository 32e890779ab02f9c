"""The OpenAI engine on servers that respond correctly, with their differences."""

from __future__ import annotations

import json

import pytest

from sprint_agent.engine import Delta, Finish, Request, Sampling, TokenUsage
from sprint_agent.engines import OpenAIEngine, open_engine
from sprint_agent.engines.openai.server import Mode
from sprint_agent.errors import ContextTooLong, EngineUnavailable, RequestRefused
from sprint_agent.testing.conformance import check_engine
from tests.unit.engines.fake_openai import (
    ANSWER,
    GREEDY,
    MODES,
    PROMPT,
    STOP_KEPT,
    Body,
    breaks_off_after_finish,
    chunk,
    events,
    generates,
    read,
    refuses,
    serving,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.mark.parametrize("owner", ["somebody", "vllm", "sglang"])
@pytest.mark.parametrize("mode", MODES)
async def test_conformance(mode: Mode, owner: str) -> None:
    async with serving(generates(ANSWER), owner=owner) as server, server.engine(mode) as engine:
        report = await check_engine(engine, [PROMPT, PROMPT[:5]], patience=30)
    assert report.ok, str(report)


@pytest.mark.parametrize("drip", [False, True])
async def test_a_completion(drip: bool) -> None:
    async with serving(generates(ANSWER), drip=drip) as server, server.engine() as engine:
        text, deltas, finish = await read(engine, Request(PROMPT, GREEDY))
        assert (text, len(deltas)) == (ANSWER[:24], 24)
        assert finish == Finish("length", TokenUsage(len(PROMPT), 24, 2))
        assert server.paths == ["/v1/completions"]
        assert server.requests == [
            {
                "model": "m",
                "prompt": PROMPT,
                "max_tokens": 24,
                "temperature": 0.0,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ]


async def test_a_chat() -> None:
    async with serving(generates(ANSWER)) as server, server.engine("chat") as engine:
        text, deltas, finish = await read(engine, Request(PROMPT, GREEDY))
        assert (text, len(deltas)) == (ANSWER[:24], 24)
        assert finish == Finish("length", TokenUsage(len(PROMPT), 24, 2))
        assert server.paths == ["/v1/chat/completions"]
        (body,) = server.requests
        assert body["messages"] == [{"role": "user", "content": PROMPT}]
        assert (body["max_tokens"], body["stream"]) == (24, True)


@pytest.mark.parametrize("mode", MODES)
async def test_sampling_goes_to_the_server(mode: Mode) -> None:
    async with serving(generates("so")) as server, server.engine(mode) as engine:
        _, _, finish = await read(engine, Request(PROMPT, Sampling(5, 0.7, 0.9, seed=11)))
        assert finish.reason == "end"
        (body,) = server.requests
        assert [body[name] for name in ("temperature", "top_p", "seed")] == [0.7, 0.9, 11]


async def test_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(generates("so")) as server:
        for given, environment, sent in (
            (None, None, "none"),
            (None, "from-outside\n", "from-outside"),
            ("given", "from-outside", "given"),
        ):
            if environment:
                monkeypatch.setenv("OPENAI_API_KEY", environment)
            async with OpenAIEngine(server.url, model="m", api_key=given) as engine:
                await read(engine, Request(PROMPT))
            assert server.keys[-2:] == [f"Bearer {sent}"] * 2
    for bad in ("two\nlines", "schlüssel"):
        with pytest.raises(EngineUnavailable, match="api_key=") as caught:
            await OpenAIEngine(server.url, model="m", api_key=bad).__aenter__()
        assert bad not in str(caught.value)


# --- stops --------------------------------------------------------------------------------------


async def test_a_stop_is_not_sent_to_a_server_that_would_leave_it_out() -> None:
    async with serving(generates(ANSWER, stall_at=15)) as server, server.engine() as engine:
        text, deltas, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>", "<x>")))
        assert "stop" not in server.requests[0]
        assert (text, finish.reason, finish.stop) == ("take <p>3+5", "stop", "</p>")
        # Each event counts as a token, including those of the stop.
        assert finish.usage == TokenUsage(0, 15, 0)
        assert len(deltas) == 15
        await server.disconnected.wait()


@pytest.mark.parametrize(("owner", "kept"), [("vllm", STOP_KEPT), ("sglang", "no_stop_trim")])
async def test_a_stop_is_sent_to_a_server_that_keeps_it_in_the_text(owner: str, kept: str) -> None:
    async with serving(generates(ANSWER), owner=owner) as server, server.engine() as engine:
        for _ in range(3):
            text, _, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>", "<x>")))
            assert text == "take <p>3+5"
            assert finish == Finish("stop", TokenUsage(len(PROMPT), 15, 2), "</p>")
        assert (server.requests[0]["stop"], server.requests[0][kept]) == (["</p>", "<x>"], True)
        assert server.connections == 1


async def test_no_stop_is_sent_for_a_chat_whose_thoughts_may_contain_it() -> None:
    async with serving(generates(ANSWER), owner="vllm") as server, server.engine("chat") as engine:
        await read(engine, Request(PROMPT, GREEDY, ("</p>",)))
        assert not server.requests[0].keys() & {"stop", STOP_KEPT}


async def test_a_chat_that_ends_soon_after_the_stop_reports_its_usage() -> None:
    async with serving(generates("a</p>bc")) as server, server.engine("chat") as engine:
        for _ in range(3):
            text, _, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>",)))
            assert (text, finish) == ("a", Finish("stop", TokenUsage(len(PROMPT), 7, 2), "</p>"))
        assert server.connections == 1


async def test_a_chat_that_continues_after_the_stop_is_closed() -> None:
    async with (
        serving(generates("a</p>" * 9, stall_at=13)) as server,
        server.engine("chat") as engine,
    ):
        text, _, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>",)))
        assert (text, finish) == ("a", Finish("stop", TokenUsage(0, 13, 0), "</p>"))
        await server.disconnected.wait()


async def test_an_incomplete_stop_is_part_of_the_answer() -> None:
    async with serving(generates("done</")) as server, server.engine() as engine:
        text, _, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>",)))
    assert (text, finish.reason, finish.stop) == ("done</", "end", None)


async def test_a_stop_takes_precedence_over_the_finish_reason_of_its_event() -> None:
    behaviour = events(lambda body: chunk(body, "a</p>b", "length"))
    async with serving(behaviour) as server, server.engine() as engine:
        text, _, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>",)))
    assert (text, finish.reason, finish.stop) == ("a", "stop", "</p>")


# --- usage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
async def test_without_usage_events_are_counted(mode: Mode) -> None:
    async with (
        serving(generates("done", reports_usage=False)) as server,
        server.engine(mode) as engine,
    ):
        _, _, finish = await read(engine, Request(PROMPT, GREEDY))
    assert finish == Finish("end", TokenUsage(0, 4, 0))


@pytest.mark.parametrize("mode", MODES)
async def test_an_answer_is_complete_with_its_finish_reason(mode: Mode) -> None:
    for behaviour in (
        breaks_off_after_finish,
        generates("A", done=False),
        events(lambda body: chunk(body, "A", "stop"), "{"),
        events(lambda body: chunk(body, "A", "stop"), {"error": "too late"}),
    ):
        async with serving(behaviour) as server, server.engine(mode) as engine:
            text, _, finish = await read(engine, Request(PROMPT, GREEDY))
            assert (text, finish.reason, finish.usage.completion_tokens) == ("A", "end", 1)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_thoughts_are_counted_but_not_in_the_text(name: str) -> None:
    def thinks(body: Body) -> object:
        return chunk(body, None, **{name: "hm"})

    stream = [
        thinks,
        thinks,
        lambda body: chunk(body, "so"),
        lambda body: chunk(body, "", "stop"),
    ]
    async with serving(events(*stream)) as server, server.engine("chat") as engine:
        _, deltas, finish = await read(engine, Request(PROMPT, GREEDY))
    assert deltas == [Delta(""), Delta(""), Delta("so")]
    assert finish == Finish("end", TokenUsage(0, 3, 0))


async def test_unreadable_usage_does_not_lose_the_answer() -> None:
    odd = [7, {}, {"prompt_tokens": "1", "completion_tokens": 1}, {"completion_tokens": 1}]
    for counts in odd:
        behaviour = events(
            lambda a: chunk(a, "A", "stop"), {"choices": [], "usage": counts}, "[DONE]"
        )
        async with serving(behaviour) as server, server.engine() as engine:
            _, _, finish = await read(engine, Request(PROMPT, GREEDY))
            assert finish.usage == TokenUsage(0, 1, 0)


# --- what servers refuse -------------------------------------------------------------------


def unsupported(name: str, kind: str = "parameter") -> object:
    text = f"Unsupported {kind}: '{name}' is not supported with this model."
    return {"message": text, "param": name, "code": f"unsupported_{kind}"}


async def test_parameters_that_a_reasoning_model_refuses_are_omitted_from_then_on() -> None:
    def refusal(body: Body) -> object | None:
        if "max_tokens" in body:
            return unsupported("max_tokens")
        return unsupported("temperature", "value") if "temperature" in body else None

    behaviour = refuses(refusal, generates("so"))
    async with serving(behaviour) as server, server.engine("chat") as engine:
        for _ in range(2):
            text, _, _ = await read(engine, Request(PROMPT, GREEDY))
            assert text == "so"
        assert len(server.requests) == 4
        assert server.requests[-1]["max_completion_tokens"] == 24
        assert not server.requests[-1].keys() & {"max_tokens", "temperature"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "words",
    [
        {"message": "body: stream_options: extra fields not permitted"},
        {"detail": [{"loc": ["body", "stream_options"], "msg": "no"}]},
    ],
)
async def test_a_server_without_stream_options(mode: Mode, words: Body) -> None:
    behaviour = refuses(lambda body: words if "stream_options" in body else None, generates("so"))
    async with serving(behaviour) as server, server.engine(mode) as engine:
        text, _, finish = await read(engine, Request(PROMPT, GREEDY))
        assert (text, finish.usage) == ("so", TokenUsage(0, 2, 0))
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    "error",
    [
        unsupported("model"),
        {"message": "temperature must be at most 2", "param": "temperature"},
        {"message": "no such thing", "param": None, "code": None},
    ],
)
async def test_other_refusals_are_not_retried(error: object) -> None:
    async with serving(refuses(lambda body: error, generates("so"))) as server:
        async with server.engine() as engine:
            with pytest.raises(RequestRefused):
                await read(engine, Request(PROMPT, GREEDY))
        assert len(server.requests) == 1


async def test_a_parameter_that_is_refused_again_is_an_error() -> None:
    behaviour = refuses(lambda body: unsupported("temperature"), generates("so"))
    async with serving(behaviour) as server, server.engine() as engine:
        with pytest.raises(RequestRefused):
            await read(engine, Request(PROMPT, GREEDY))
        assert len(server.requests) == 2


TOO_LONG: list[object] = [
    {"message": "This model's maximum context length is 600 tokens. However, you asked for more."},
    {"message": "no room", "code": "context_length_exceeded"},
    {"message": "the request exceeds the available context size"},
]


@pytest.mark.parametrize("error", TOO_LONG)
async def test_an_answer_too_long_for_the_context_is_requested_with_fewer_tokens(
    error: object,
) -> None:
    behaviour = refuses(lambda body: error if body["max_tokens"] > 600 else None, generates("so"))
    async with serving(behaviour) as server, server.engine() as engine:
        text, _, _ = await read(engine, Request(PROMPT, Sampling(max_tokens=2000)))
        assert text == "so"
        assert [body["max_tokens"] for body in server.requests] == [2000, 1000, 500]


async def test_a_prompt_that_leaves_no_room_is_too_long() -> None:
    async with serving(refuses(lambda body: TOO_LONG[0], generates("so"))) as server:
        async with server.engine() as engine:
            with pytest.raises(ContextTooLong, match="max_tokens"):
                await read(engine, Request(PROMPT, Sampling(max_tokens=900)))
        assert [body["max_tokens"] for body in server.requests] == [900, 450, 256]


async def test_the_context_length_is_the_servers() -> None:
    async with serving(generates("so")) as server:
        async with server.engine() as engine:
            assert engine.context_length == 600
        async with OpenAIEngine(server.url, model="other") as engine:
            assert engine.context_length is None


@pytest.mark.parametrize(
    ("card", "length"),
    [({"meta": {"n_ctx": 2048, "n_ctx_train": 4096}}, 2048), ({"meta": None}, None), ({}, None)],
)
async def test_the_context_length_of_other_servers(
    card: dict[str, object], length: int | None
) -> None:
    """llama.cpp's reports the context of one request, and the context of the model's training."""
    models = 200, json.dumps({"data": [{"id": "m", **card}]})
    async with serving(generates("so"), models=models) as server, server.engine() as engine:
        assert engine.context_length == length


# --- what is not sent, and addresses ------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
async def test_an_invalid_request_is_not_sent(mode: Mode) -> None:
    async with serving(generates(ANSWER)) as server, server.engine(mode) as engine:
        for request in (
            Request((1, 2)),
            Request(""),
            Request("half \ud83d a character"),
            Request(PROMPT, Sampling(0)),
            Request(PROMPT, Sampling(5, float("nan"))),
            Request(PROMPT, Sampling(5, 1, 0)),
            Request(PROMPT, stop=("",)),
        ):
            with pytest.raises(RequestRefused):
                await read(engine, request)
        assert server.requests == []
        assert engine.in_flight == 0


async def test_a_request_id_that_is_running_is_refused() -> None:
    async with serving(generates(ANSWER, stall_at=3)) as server, server.engine() as engine:
        request = Request(PROMPT, GREEDY)
        async with engine.generate(request):
            with pytest.raises(RequestRefused, match="running already"):
                await read(engine, request)
            assert engine.in_flight == 1


async def test_a_finished_answer_leaves_its_connection_to_the_next_request() -> None:
    async with serving(generates("so")) as server, server.engine() as engine:
        for _ in range(5):
            await read(engine, Request(PROMPT, GREEDY))
        assert server.connections == 1


async def test_opening_an_engine_by_its_address() -> None:
    async with serving(generates("so")) as server:
        async with open_engine(f"openai+{server.url}#m") as engine:
            assert isinstance(engine, OpenAIEngine)
            text, _, _ = await read(engine, Request(PROMPT, GREEDY))
            assert text == "so"
        assert (server.requests[0]["model"], server.paths) == ("m", ["/v1/chat/completions"])
    with pytest.raises(EngineUnavailable, match="#MODEL"):
        open_engine("openai+http://127.0.0.1:1/v1")
