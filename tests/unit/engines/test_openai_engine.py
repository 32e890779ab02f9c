"""The OpenAI engine, on servers that keep their word, each in its own way."""

from __future__ import annotations

import json

import pytest

from sprint_agent.engine import Delta, Finish, Request, Sampling, TokenUsage
from sprint_agent.engines import open_engine
from sprint_agent.engines.openai.engine import Mode, OpenAIEngine
from sprint_agent.errors import ContextTooLong, EngineUnavailable, RequestRefused
from sprint_agent.testing.conformance import check_engine
from tests.unit.engines.fake_openai import (
    ANSWER,
    GREEDY,
    MODES,
    PROMPT,
    STOP_KEPT,
    Body,
    breaks_off_behind,
    chunk,
    events,
    read,
    refuses,
    says,
    serving,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.mark.parametrize("owner", ["somebody", "vllm", "sglang"])
@pytest.mark.parametrize("mode", MODES)
async def test_it_conforms(mode: Mode, owner: str) -> None:
    async with serving(says(ANSWER), owner=owner) as server, server.engine(mode) as engine:
        report = await check_engine(engine, [PROMPT, PROMPT[:5]], patience=30)
    assert report.ok, str(report)


@pytest.mark.parametrize("drip", [False, True])
async def test_a_completion(drip: bool) -> None:
    async with serving(says(ANSWER), drip=drip) as server, server.engine() as engine:
        text, deltas, finish = await read(engine, Request(PROMPT, GREEDY))
        assert (text, len(deltas)) == (ANSWER[:24], 24)
        assert finish == Finish("length", TokenUsage(len(PROMPT), 24, 2))
        assert server.paths == ["/v1/completions"]
        assert server.asked == [
            {
                "model": "m",
                "prompt": PROMPT,
                "max_tokens": 24,
                "temperature": 0.0,
                "top_p": 1.0,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ]


async def test_a_chat() -> None:
    async with serving(says(ANSWER)) as server, server.engine("chat") as engine:
        text, deltas, finish = await read(engine, Request(PROMPT, GREEDY))
        assert (text, len(deltas)) == (ANSWER[:24], 24)
        assert finish == Finish("length", TokenUsage(len(PROMPT), 24, 2))
        assert server.paths == ["/v1/chat/completions"]
        (asked,) = server.asked
        assert asked["messages"] == [{"role": "user", "content": PROMPT}]
        assert (asked["max_tokens"], asked["stream"]) == (24, True)


@pytest.mark.parametrize("mode", MODES)
async def test_sampling_goes_to_the_server(mode: Mode) -> None:
    async with serving(says("so")) as server, server.engine(mode) as engine:
        _, _, finish = await read(engine, Request(PROMPT, Sampling(5, 0.7, 0.9, seed=11)))
        assert finish.reason == "end"
        (asked,) = server.asked
        assert [asked[name] for name in ("temperature", "top_p", "seed")] == [0.7, 0.9, 11]


async def test_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(says("so")) as server:
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


async def test_a_stop_is_not_sent_to_a_server_that_would_hide_it() -> None:
    async with serving(says(ANSWER, hold_at=15)) as server, server.engine() as engine:
        text, deltas, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>", "<x>")))
        assert "stop" not in server.asked[0]
        assert (text, finish.reason, finish.stop) == ("take <p>3+5", "stop", "</p>")
        # Each event counts as a token, those of the stop as well.
        assert finish.usage == TokenUsage(0, 15, 0)
        assert len(deltas) == 15
        await server.left.wait()


@pytest.mark.parametrize(("owner", "kept"), [("vllm", STOP_KEPT), ("sglang", "no_stop_trim")])
async def test_a_stop_is_sent_to_a_server_that_leaves_it_in_the_text(owner: str, kept: str) -> None:
    async with serving(says(ANSWER), owner=owner) as server, server.engine() as engine:
        for _ in range(3):
            text, _, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>", "<x>")))
            assert text == "take <p>3+5"
            assert finish == Finish("stop", TokenUsage(len(PROMPT), 15, 2), "</p>")
        assert (server.asked[0]["stop"], server.asked[0][kept]) == (["</p>", "<x>"], True)
        assert server.connections == 1


async def test_no_stop_is_sent_for_a_chat_whose_thoughts_may_hold_it() -> None:
    async with serving(says(ANSWER), owner="vllm") as server, server.engine("chat") as engine:
        await read(engine, Request(PROMPT, GREEDY, ("</p>",)))
        assert not server.asked[0].keys() & {"stop", STOP_KEPT}


async def test_a_chat_that_ends_behind_the_stop_tells_its_usage() -> None:
    async with serving(says("a</p>bc")) as server, server.engine("chat") as engine:
        for _ in range(3):
            text, _, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>",)))
            assert (text, finish) == ("a", Finish("stop", TokenUsage(len(PROMPT), 7, 2), "</p>"))
        assert server.connections == 1


async def test_a_chat_that_goes_on_behind_the_stop_is_left() -> None:
    async with serving(says("a</p>" * 9, hold_at=13)) as server, server.engine("chat") as engine:
        text, _, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>",)))
        assert (text, finish) == ("a", Finish("stop", TokenUsage(0, 13, 0), "</p>"))
        await server.left.wait()


async def test_what_began_like_a_stop_is_told_at_the_end() -> None:
    async with serving(says("done</")) as server, server.engine() as engine:
        text, _, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>",)))
    assert (text, finish.reason, finish.stop) == ("done</", "end", None)


async def test_a_stop_counts_before_the_end_of_the_same_event() -> None:
    said = events(lambda asked: chunk(asked, "a</p>b", "length"))
    async with serving(said) as server, server.engine() as engine:
        text, _, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>",)))
    assert (text, finish.reason, finish.stop) == ("a", "stop", "</p>")


# --- usage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
async def test_without_usage_events_are_counted(mode: Mode) -> None:
    async with serving(says("done", tells_usage=False)) as server, server.engine(mode) as engine:
        _, _, finish = await read(engine, Request(PROMPT, GREEDY))
    assert finish == Finish("end", TokenUsage(0, 4, 0))


@pytest.mark.parametrize("mode", MODES)
async def test_an_answer_is_whole_with_its_finish_reason(mode: Mode) -> None:
    for behaviour in (
        breaks_off_behind,
        says("A", done=False),
        events(lambda asked: chunk(asked, "A", "stop"), "{"),
        events(lambda asked: chunk(asked, "A", "stop"), {"error": "too late"}),
    ):
        async with serving(behaviour) as server, server.engine(mode) as engine:
            text, _, finish = await read(engine, Request(PROMPT, GREEDY))
            assert (text, finish.reason, finish.usage.completion_tokens) == ("A", "end", 1)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_thoughts_are_counted_and_not_told(name: str) -> None:
    def thinks(asked: Body) -> object:
        return chunk(asked, None, **{name: "hm"})

    said = [
        thinks,
        thinks,
        lambda asked: chunk(asked, "so"),
        lambda asked: chunk(asked, "", "stop"),
    ]
    async with serving(events(*said)) as server, server.engine("chat") as engine:
        _, deltas, finish = await read(engine, Request(PROMPT, GREEDY))
    assert deltas == [Delta(""), Delta(""), Delta("so")]
    assert finish == Finish("end", TokenUsage(0, 3, 0))


async def test_usage_that_cannot_be_read_costs_no_answer() -> None:
    odd = [7, {}, {"prompt_tokens": "1", "completion_tokens": 1}, {"completion_tokens": 1}]
    for counts in odd:
        said = events(lambda a: chunk(a, "A", "stop"), {"choices": [], "usage": counts}, "[DONE]")
        async with serving(said) as server, server.engine() as engine:
            _, _, finish = await read(engine, Request(PROMPT, GREEDY))
            assert finish.usage == TokenUsage(0, 1, 0)


# --- what servers do not take -------------------------------------------------------------------


def unsupported(name: str, kind: str = "parameter") -> object:
    text = f"Unsupported {kind}: '{name}' is not supported with this model."
    return {"message": text, "param": name, "code": f"unsupported_{kind}"}


async def test_a_reasoning_models_refusals_are_learned_once() -> None:
    def refusal(asked: Body) -> object | None:
        if "max_tokens" in asked:
            return unsupported("max_tokens")
        return unsupported("temperature", "value") if "temperature" in asked else None

    behaviour = refuses(refusal, says("so"))
    async with serving(behaviour) as server, server.engine("chat") as engine:
        for _ in range(2):
            text, _, _ = await read(engine, Request(PROMPT, GREEDY))
            assert text == "so"
        assert len(server.asked) == 4
        assert server.asked[-1]["max_completion_tokens"] == 24
        assert not server.asked[-1].keys() & {"max_tokens", "temperature"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "words",
    [
        {"message": "body: stream_options: extra fields not permitted"},
        {"detail": [{"loc": ["body", "stream_options"], "msg": "no"}]},
    ],
)
async def test_a_server_without_stream_options(mode: Mode, words: Body) -> None:
    behaviour = refuses(lambda asked: words if "stream_options" in asked else None, says("so"))
    async with serving(behaviour) as server, server.engine(mode) as engine:
        text, _, finish = await read(engine, Request(PROMPT, GREEDY))
        assert (text, finish.usage) == ("so", TokenUsage(0, 2, 0))
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    "error",
    [
        unsupported("model"),
        {"message": "temperature must be at most 2", "param": "temperature"},
        {"message": "no such thing", "param": None, "code": None},
    ],
)
async def test_other_refusals_are_not_sent_again(error: object) -> None:
    async with serving(refuses(lambda asked: error, says("so"))) as server:
        async with server.engine() as engine:
            with pytest.raises(RequestRefused):
                await read(engine, Request(PROMPT, GREEDY))
        assert len(server.asked) == 1


async def test_what_is_refused_for_ever_is_not_sent_for_ever() -> None:
    behaviour = refuses(lambda asked: unsupported("temperature"), says("so"))
    async with serving(behaviour) as server, server.engine() as engine:
        with pytest.raises(RequestRefused):
            await read(engine, Request(PROMPT, GREEDY))
        assert len(server.asked) == 2


TOO_LONG: list[object] = [
    {"message": "This model's maximum context length is 600 tokens. However, you asked for more."},
    {"message": "no room", "code": "context_length_exceeded"},
    {"message": "the request exceeds the available context size"},
]


@pytest.mark.parametrize("error", TOO_LONG)
async def test_a_long_answer_is_asked_for_in_less_room(error: object) -> None:
    behaviour = refuses(lambda asked: error if asked["max_tokens"] > 600 else None, says("so"))
    async with serving(behaviour) as server, server.engine() as engine:
        text, _, _ = await read(engine, Request(PROMPT, Sampling(max_tokens=2000)))
        assert text == "so"
        assert [asked["max_tokens"] for asked in server.asked] == [2000, 1000, 500]


async def test_a_prompt_that_leaves_no_room_is_too_long() -> None:
    async with serving(refuses(lambda asked: TOO_LONG[0], says("so"))) as server:
        async with server.engine() as engine:
            with pytest.raises(ContextTooLong, match="max_tokens"):
                await read(engine, Request(PROMPT, Sampling(max_tokens=900)))
        assert [asked["max_tokens"] for asked in server.asked] == [900, 450, 256]


async def test_the_context_length_is_the_servers() -> None:
    async with serving(says("so")) as server:
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
    """llama.cpp's tells what a request of its may have, and what the model was trained on."""
    models = 200, json.dumps({"data": [{"id": "m", **card}]})
    async with serving(says("so"), models=models) as server, server.engine() as engine:
        assert engine.context_length == length


# --- what is not sent, and addresses ------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
async def test_what_cannot_run_is_not_sent(mode: Mode) -> None:
    async with serving(says(ANSWER)) as server, server.engine(mode) as engine:
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
        assert server.asked == []
        assert engine.in_flight == 0


async def test_a_request_id_runs_once_at_a_time() -> None:
    async with serving(says(ANSWER, hold_at=3)) as server, server.engine() as engine:
        request = Request(PROMPT, GREEDY)
        async with engine.generate(request):
            with pytest.raises(RequestRefused, match="running already"):
                await read(engine, request)
            assert engine.in_flight == 1


async def test_a_finished_answer_leaves_its_connection_for_the_next() -> None:
    async with serving(says("so")) as server, server.engine() as engine:
        for _ in range(5):
            await read(engine, Request(PROMPT, GREEDY))
        assert server.connections == 1


async def test_an_engine_by_its_address() -> None:
    async with serving(says("so")) as server:
        async with open_engine(f"openai+{server.url}#m") as engine:
            assert isinstance(engine, OpenAIEngine)
            text, _, _ = await read(engine, Request(PROMPT, GREEDY))
            assert text == "so"
        assert (server.asked[0]["model"], server.paths) == ("m", ["/v1/chat/completions"])
    with pytest.raises(EngineUnavailable, match="#MODEL"):
        open_engine("openai+http://127.0.0.1:1/v1")
