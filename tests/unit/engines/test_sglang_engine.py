"""The SGLang engine, on a server that keeps its word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sprint_agent.engine import Finish, Request, RunTag, Sampling, TokenUsage
from sprint_agent.engines.sglang import wire
from sprint_agent.engines.sglang.engine import SGLangEngine
from sprint_agent.errors import (
    ContextTooLong,
    EngineError,
    EngineUnavailable,
    RequestRefused,
)
from sprint_agent.testing import ALL, Drip, Stall, Status, check_engine
from tests.unit.engines.sglang_kit import (
    ABORT,
    ANSWER,
    CONTEXT,
    GREEDY,
    PROMPT,
    CharTokenizer,
    aborted,
    engine_of,
    event,
    events,
    read,
    saying,
    serving,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_it_conforms() -> None:
    async with serving() as server, engine_of(server) as engine:
        report = await check_engine(engine, [PROMPT, PROMPT[:5]], patience=30)
    assert report.ok, str(report)


@pytest.mark.parametrize("drip", [False, True])
@pytest.mark.parametrize("incremental", [False, True])
async def test_an_answer(drip: bool, incremental: bool) -> None:
    faults = [Drip()] if drip else []
    server = serving(*faults, incremental=incremental)
    async with server, engine_of(server) as engine:
        request = Request(PROMPT, GREEDY)
        text, ids, finish = await read(engine, request)
        assert (text, ids) == (ANSWER[:24], tuple(ANSWER[:24].encode()))
        assert finish == Finish("length", TokenUsage(len(PROMPT), 24, 5))
        asked = server.requests[0].body
        assert len(server.requests) == 1
        assert asked["rid"] == request.request_id
        assert asked["input_ids"] == list(PROMPT)
        assert asked["stream"] is True
        assert asked["sampling_params"] == {
            "max_new_tokens": 24,
            "temperature": 0.0,
            "top_p": 1.0,
            "stop": [],
            "no_stop_trim": True,
            "skip_special_tokens": False,
        }
        assert aborted(server) == []


@pytest.mark.parametrize("incremental", [False, True])
async def test_a_server_behind_a_router_whose_settings_are_not_known(incremental: bool) -> None:
    router = {"router_manager": True, "routers_count": 1, "workers_count": 1}
    faults = [saying(router, "/server_info"), Status(404, path=ABORT, times=None)]
    async with serving(*faults, incremental=incremental) as server, engine_of(server) as engine:
        text, ids, finish = await read(engine, Request(PROMPT, GREEDY))
        assert (text, ids) == (ANSWER[:24], tuple(ANSWER[:24].encode()))
        async with engine.generate(Request(PROMPT, GREEDY)) as stream:
            await anext(stream)
        assert await read(engine, Request(PROMPT, GREEDY)) == (text, ids, finish)


async def test_sampling_goes_to_the_server() -> None:
    async with serving() as server, engine_of(server) as engine:
        await read(engine, Request(PROMPT, Sampling(5, 0.7, 0.9, seed=11), ("x", "y")))
        await read(engine, Request(PROMPT, Sampling(max_tokens=10_000)))
        first, second = (asked.body["sampling_params"] for asked in server.requests)
        assert (first["temperature"], first["top_p"], first["sampling_seed"]) == (0.7, 0.9, 11)
        assert first["stop"] == ["x", "y"]
        assert second["max_new_tokens"] == CONTEXT - len(PROMPT)


async def test_the_end_id_is_in_no_delta() -> None:
    async with serving(answer="done") as server, engine_of(server) as engine:
        text, ids, finish = await read(engine, Request(PROMPT, GREEDY))
    assert (text, ids) == ("done", tuple(b"done"))
    assert finish == Finish("end", TokenUsage(len(PROMPT), 5, 5))


async def test_what_began_like_a_stop_is_told_at_the_end() -> None:
    async with serving(answer="done</") as server, engine_of(server) as engine:
        text, ids, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>",)))
    assert (text, ids, finish.reason) == ("done</", tuple(b"done</"), "end")


async def test_a_stop_string_ends_the_answer() -> None:
    async with serving() as server, engine_of(server) as engine:
        text, ids, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>", "<x>")))
        assert (text, ids) == ("take <p>3+5", tuple(b"take <p>3+5"))
        assert finish == Finish("stop", TokenUsage(len(PROMPT), 15, 5), "</p>")
        assert aborted(server) == []


async def test_a_stop_that_the_server_does_not_see_is_aborted_there() -> None:
    # It has sent the stop, and sends nothing more, nor that it has finished.
    async with serving(Stall(ALL)) as server, engine_of(server) as engine:
        request = Request(PROMPT, GREEDY, ("</p>",))
        text, _, finish = await read(engine, request)
        assert (text, finish.reason, finish.stop) == ("take <p>3+5", "stop", "</p>")
        assert aborted(server) == [request.request_id]


async def test_what_comes_after_a_stop_is_not_read() -> None:
    said = events(*(event(list(text.encode())) for text in (ANSWER[:15], ANSWER[:20])), "[DONE]")
    async with serving(said) as server, engine_of(server) as engine:
        text, _, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>",)))
    assert (text, finish.usage.completion_tokens) == ("take <p>3+5", 15)


async def test_a_stop_that_only_the_server_sees_is_an_error() -> None:
    said = events(event([65], {"type": "stop", "matched": "B"}))
    async with serving(said) as server, engine_of(server) as engine:
        with pytest.raises(EngineError, match="tokenizer="):
            await read(engine, Request(PROMPT, GREEDY, ("B",)))


def old() -> tuple[Status, Status]:
    """What makes a server an older one, which has other names for what it says of itself."""
    return Status(404, path="/model_info", times=None), Status(404, path="/server_info", times=None)


async def test_an_older_servers_names() -> None:
    async with serving(*old()) as server, engine_of(server) as engine:
        assert engine.context_length == CONTEXT


async def test_the_context_is_the_least_that_the_server_says() -> None:
    for state, context in (
        ({"context_length": 50, "max_req_input_len": 60}, 50),
        ({"context_length": 50}, 50),
        ({}, None),
    ):
        said = saying(state, "/server_info")
        async with (
            serving(said, context_length=None) as server,
            engine_of(server) as engine,
        ):
            assert engine.context_length == context
            await read(engine, Request(PROMPT, GREEDY))


def write_tokenizer(folder: Path) -> None:
    vocabulary = {chr(number): number for number in range(32, 127)}
    model = {"type": "BPE", "vocab": vocabulary, "merges": [], "dropout": None, "unk_token": None}
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model}))


async def test_the_tokenizer_of_a_folder(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    server = serving(model=str(tmp_path))
    async with server, SGLangEngine(server.url) as engine:
        assert engine.tokenizer.encode("3+5") == [51, 43, 53]
    async with serving() as server:
        async with SGLangEngine(server.url, tokenizer=tmp_path) as engine:
            assert engine.tokenizer.encode("3+5") == [51, 43, 53]
        with pytest.raises(EngineUnavailable, match="tokenizer="):
            await SGLangEngine(server.url).__aenter__()
        (tmp_path / "tokenizer.json").write_text("{}")
        with pytest.raises(EngineUnavailable, match="cannot load"):
            await SGLangEngine(server.url, tokenizer=tmp_path).__aenter__()


async def test_a_server_of_another_kind() -> None:
    async with serving(*old()) as server:
        with pytest.raises(EngineUnavailable, match="404"):
            await SGLangEngine(server.url + "/v1", tokenizer=CharTokenizer()).__aenter__()
    for said in ("<html>", "[1]"):
        async with serving(saying(said, "/model_info")) as server:
            with pytest.raises(EngineUnavailable, match="not an SGLang server"):
                await engine_of(server).__aenter__()


async def test_what_cannot_run_is_not_sent() -> None:
    async with serving() as server, engine_of(server) as engine:
        assert engine.context_length == CONTEXT
        for prompt in ("text", (), (-1,), (128,), (5, 10**12)):
            with pytest.raises(RequestRefused):
                await read(engine, Request(prompt))
        with pytest.raises(ContextTooLong):
            await read(engine, Request((5,) * CONTEXT))
        for sampling in (
            Sampling(0),
            Sampling(5, -1.0),
            Sampling(5, float("nan")),
            Sampling(5, 1, 0),
        ):
            with pytest.raises(RequestRefused):
                await read(engine, Request(PROMPT, sampling))
        for request in (Request(PROMPT, stop=("",)), Request(PROMPT, request_id="1")):
            with pytest.raises(RequestRefused):
                await read(engine, request)
        assert server.requests == []
        assert aborted(server) == []


async def test_a_request_id_runs_once_at_a_time() -> None:
    async with serving(Stall(3)) as server, engine_of(server) as engine:
        request = Request(PROMPT, GREEDY)
        async with engine.generate(request):
            with pytest.raises(RequestRefused):
                await read(engine, request)
            assert aborted(server) == []
            assert engine.in_flight == 1


async def test_a_finished_answer_leaves_its_connection_for_the_next() -> None:
    async with serving() as server, engine_of(server) as engine:
        for _ in range(5):
            await read(engine, Request(PROMPT, GREEDY))
        assert server.connections == 1


class TestPriority:
    """Older runs first, where the server has priorities; elsewhere none is sent."""

    OLDER, NEWER = (
        Request(PROMPT, run=RunTag(name, began)) for name, began in [("a", 5), ("b", 9)]
    )

    def test_a_greater_number_goes_first(self) -> None:
        state: dict[str, object] = {"enable_priority_scheduling": True}
        older, newer = (wire.priority_of(r, state) for r in (self.OLDER, self.NEWER))
        assert older is not None
        assert newer is not None
        assert older > newer

    def test_unless_the_server_has_it_the_other_way_round(self) -> None:
        state: dict[str, object] = {"enable_priority_scheduling": True}
        state["schedule_low_priority_values_first"] = True
        assert wire.priority_of(self.OLDER, state) == 5
        assert wire.priority_of(self.NEWER, state) == 9

    def test_without_a_run_or_without_priorities_there_is_none(self) -> None:
        assert wire.priority_of(self.OLDER, {}) is None
        assert wire.priority_of(Request(PROMPT), {"enable_priority_scheduling": True}) is None

    def test_it_stands_in_the_body_where_there_is_one(self) -> None:
        assert wire.request_body(self.OLDER, 128, None, -5)["priority"] == -5
        assert "priority" not in wire.request_body(self.OLDER, 128, None)
