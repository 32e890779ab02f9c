"""The SGLang engine on a server that responds correctly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sprint_agent.engine import Finish, Request, Sampling, TokenUsage
from sprint_agent.engines import SGLangEngine
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
    describing,
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


async def test_conformance() -> None:
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
        body = server.requests[0].body
        assert len(server.requests) == 1
        assert body["rid"] == request.request_id
        assert body["input_ids"] == list(PROMPT)
        assert body["stream"] is True
        assert body["sampling_params"] == {
            "max_new_tokens": 24,
            "temperature": 0.0,
            "top_p": 1.0,
            "stop": [],
            "no_stop_trim": True,
            "skip_special_tokens": False,
        }
        assert aborted(server) == []


@pytest.mark.parametrize("incremental", [False, True])
async def test_a_router_that_hides_the_servers_settings(incremental: bool) -> None:
    router = {"router_manager": True, "routers_count": 1, "workers_count": 1}
    faults = [describing(router, "/server_info"), Status(404, path=ABORT, times=None)]
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
        first, second = (request.body["sampling_params"] for request in server.requests)
        assert (first["temperature"], first["top_p"], first["sampling_seed"]) == (0.7, 0.9, 11)
        assert first["stop"] == ["x", "y"]
        assert second["max_new_tokens"] == CONTEXT - len(PROMPT)


async def test_the_end_id_is_in_no_delta() -> None:
    async with serving(answer="done") as server, engine_of(server) as engine:
        text, ids, finish = await read(engine, Request(PROMPT, GREEDY))
    assert (text, ids) == ("done", tuple(b"done"))
    assert finish == Finish("end", TokenUsage(len(PROMPT), 5, 5))


async def test_an_incomplete_stop_is_part_of_the_answer() -> None:
    async with serving(answer="done</") as server, engine_of(server) as engine:
        text, ids, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>",)))
    assert (text, ids, finish.reason) == ("done</", tuple(b"done</"), "end")


async def test_a_stop_string_ends_the_answer() -> None:
    async with serving() as server, engine_of(server) as engine:
        text, ids, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>", "<x>")))
        assert (text, ids) == ("take <p>3+5", tuple(b"take <p>3+5"))
        assert finish == Finish("stop", TokenUsage(len(PROMPT), 15, 5), "</p>")
        assert aborted(server) == []


async def test_a_stop_that_the_server_does_not_find_aborts_the_request() -> None:
    # The server has sent the stop. It sends nothing more, not even that it has finished.
    async with serving(Stall(ALL)) as server, engine_of(server) as engine:
        request = Request(PROMPT, GREEDY, ("</p>",))
        text, _, finish = await read(engine, request)
        assert (text, finish.reason, finish.stop) == ("take <p>3+5", "stop", "</p>")
        await server.until(lambda: aborted(server) == [request.request_id])


async def test_text_after_a_stop_is_not_read() -> None:
    fault = events(*(event(list(text.encode())) for text in (ANSWER[:15], ANSWER[:20])), "[DONE]")
    async with serving(fault) as server, engine_of(server) as engine:
        text, _, finish = await read(engine, Request(PROMPT, GREEDY, ("</p>",)))
    assert (text, finish.usage.completion_tokens) == ("take <p>3+5", 15)


async def test_a_stop_that_only_the_server_finds_is_an_error() -> None:
    fault = events(event([65], {"type": "stop", "matched": "B"}))
    async with serving(fault) as server, engine_of(server) as engine:
        with pytest.raises(EngineError, match="tokenizer="):
            await read(engine, Request(PROMPT, GREEDY, ("B",)))


def old() -> tuple[Status, Status]:
    """The faults of an older server, which has other paths for the descriptions of itself."""
    return Status(404, path="/model_info", times=None), Status(404, path="/server_info", times=None)


async def test_the_paths_of_an_older_server() -> None:
    async with serving(*old()) as server, engine_of(server) as engine:
        assert engine.context_length == CONTEXT


async def test_the_context_is_the_smallest_that_the_server_reports() -> None:
    for state, context in (
        ({"context_length": 50, "max_req_input_len": 60}, 50),
        ({"context_length": 50}, 50),
        ({}, None),
    ):
        fault = describing(state, "/server_info")
        async with (
            serving(fault, context_length=None) as server,
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


async def test_a_server_that_is_not_sglang() -> None:
    async with serving(*old()) as server:
        with pytest.raises(EngineUnavailable, match="404"):
            await SGLangEngine(server.url + "/v1", tokenizer=CharTokenizer()).__aenter__()
    for text in ("<html>", "[1]"):
        async with serving(describing(text, "/model_info")) as server:
            with pytest.raises(EngineUnavailable, match="not an SGLang server"):
                await engine_of(server).__aenter__()


async def test_an_invalid_request_is_not_sent() -> None:
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


async def test_a_request_id_that_is_running_is_refused() -> None:
    async with serving(Stall(3)) as server, engine_of(server) as engine:
        request = Request(PROMPT, GREEDY)
        async with engine.generate(request):
            with pytest.raises(RequestRefused):
                await read(engine, request)
            assert aborted(server) == []
            assert engine.in_flight == 1


async def test_a_finished_answer_leaves_its_connection_to_the_next_request() -> None:
    async with serving() as server, engine_of(server) as engine:
        for _ in range(5):
            await read(engine, Request(PROMPT, GREEDY))
        assert server.connections == 1
