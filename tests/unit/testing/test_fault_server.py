"""FaultServer without faults: its APIs and its records."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from sprint_agent.testing import CharTokenizer, FaultServer, Reply
from tests.unit.testing.http_client import Json, connected, generate_body, objects, streamed

pytestmark = pytest.mark.anyio

END = 3


class Pairs:
    """One id for two characters, and one for a single character at the end."""

    vocab_size = 1 << 20

    def encode(self, text: str) -> list[int]:
        pairs = [text[at : at + 2] for at in range(0, len(text), 2)]
        return [ord(pair[0]) * 1000 + (ord(pair[1]) if len(pair) > 1 else 0) for pair in pairs]

    def decode(self, ids: Sequence[int]) -> str:
        pairs = [(token // 1000, token % 1000) for token in ids]
        return "".join(chr(one) + (chr(two) if two else "") for one, two in pairs)


def ids(text: str) -> list[int]:
    return [ord(one) for one in text]


async def test_an_sglang_stream_is_cumulative() -> None:
    async with FaultServer(lambda prompt: f"{prompt}!") as server, connected(server) as client:
        events = objects(await streamed(client, "/generate", generate_body("ab")))
    assert [one["text"] for one in events] == ["a", "ab", "ab!", "ab!"]
    assert [one["output_ids"] for one in events] == [
        ids("a"), ids("ab"), ids("ab!"), [*ids("ab!"), END],
    ]  # fmt: skip
    assert [one["meta_info"]["completion_tokens"] for one in events] == [1, 2, 3, 4]
    assert [one["meta_info"]["finish_reason"] for one in events[:-1]] == [None] * 3
    assert events[-1]["meta_info"] == {
        "id": "r" * 32,
        "finish_reason": {"type": "stop", "matched": END},
        "prompt_tokens": 2,
        "completion_tokens": 4,
        "cached_tokens": 0,
    }


async def test_an_incremental_sglang_stream_contains_only_what_is_new() -> None:
    server = FaultServer(lambda _: "abcde", incremental=True, chunk=2, cached_tokens=5)
    async with server, connected(server) as client:
        events = objects(await streamed(client, "/generate", generate_body("ten tokens")))
        state = (await client.get("/server_info")).json()
    assert [one["text"] for one in events] == ["ab", "cd", "e"]
    assert [one["output_ids"] for one in events] == [ids("ab"), ids("cd"), [*ids("e"), END]]
    assert [one["meta_info"]["completion_tokens"] for one in events] == [2, 4, 6]
    assert events[0]["meta_info"]["cached_tokens"] == 5
    assert state["incremental_streaming_output"] is True


SAMPLED: list[tuple[Json, str, int, Json]] = [
    ({}, "abcdef", 4, {"type": "stop", "matched": END}),
    ({"stop": "cd"}, "ab", 2, {"type": "stop", "matched": "cd"}),
    ({"stop": ["ef", "bc"]}, "a", 2, {"type": "stop", "matched": "bc"}),
    ({"stop": ["bc"], "no_stop_trim": True}, "abc", 2, {"type": "stop", "matched": "bc"}),
    ({"stop": ["x"], "max_new_tokens": 2}, "abcd", 2, {"type": "length", "length": 2}),
    ({"stop": ["ef"], "max_new_tokens": 2}, "abcd", 2, {"type": "length", "length": 2}),
    ({"stop": ["ef"], "max_new_tokens": 3}, "abcd", 3, {"type": "stop", "matched": "ef"}),
    ({"max_new_tokens": 3}, "abcdef", 3, {"type": "length", "length": 3}),
    ({"max_new_tokens": 4}, "abcdef", 4, {"type": "stop", "matched": END}),
]


@pytest.mark.parametrize(("sampling", "text", "count", "reason"), SAMPLED)
async def test_what_ends_an_answer(sampling: Json, text: str, count: int, reason: Json) -> None:
    body = generate_body(sampling_params=sampling, input_ids=Pairs().encode("?"), stream=False)
    server = FaultServer(lambda _: "abcdef", tokenizer=Pairs())
    async with server, connected(server) as client:
        whole = (await client.post("/generate", json=body)).json()
        events = objects(await streamed(client, "/generate", body | {"stream": True}))
    assert whole == events[-1]
    assert (whole["text"], len(whole["output_ids"])) == (text, count)
    assert whole["meta_info"]["finish_reason"] == reason
    assert all(text.startswith(one["text"]) for one in events)


async def test_completions() -> None:
    body = {"model": "m", "prompt": "hey", "stop": "lo", "max_tokens": 9, "stream": True}
    server = FaultServer(lambda prompt: f"{prompt} hello", model="m", cached_tokens=2)
    async with server, connected(server) as client:
        options = {"stream_options": {"include_usage": True}}
        events = objects(await streamed(client, "/v1/completions", body | options))
        without = objects(await streamed(client, "/v1/completions", body))
        whole = (await client.post("/v1/completions", json=body | {"stream": False})).json()
    assert "".join(one["choices"][0]["text"] for one in without) == "hey hel"
    *deltas, usage = events
    assert [one["choices"] for one in deltas] == [one["choices"] for one in without]
    assert [one["choices"][0]["finish_reason"] for one in deltas] == [None] * 8 + ["stop"]
    assert usage["choices"] == []
    assert usage["usage"] == whole["usage"]
    assert usage["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
    assert (whole["usage"]["prompt_tokens"], whole["usage"]["completion_tokens"]) == (3, 9)
    assert whole["choices"][0]["text"] == "hey hel"
    assert (whole["object"], whole["model"]) == ("text_completion", "m")


async def test_completions_have_16_tokens_by_default() -> None:
    async with FaultServer(lambda prompt: prompt * 9) as server, connected(server) as client:
        body = {"prompt": ids("abc")}
        whole = (await client.post("/v1/completions", json=body)).json()
    assert whole["choices"][0]["text"] == ("abc" * 9)[:16]
    assert whole["choices"][0]["finish_reason"] == "length"


async def test_chat() -> None:
    prompts: list[str] = []

    def script(prompt: str) -> str:
        prompts.append(prompt)
        return "hello"

    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "system", "content": "be"}, {"role": "user", "content": parts}]
    async with FaultServer(script) as server, connected(server) as client:
        body = {"messages": messages, "stream": True, "max_completion_tokens": 3}
        events = objects(await streamed(client, "/v1/chat/completions", body))
        body = {"messages": messages}
        whole = (await client.post("/v1/chat/completions", json=body)).json()
    assert prompts == ["system: be\n\nuser: ab"] * 2
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    deltas = [one["choices"][0]["delta"] for one in events]
    assert "".join(delta.get("content", "") for delta in deltas) == "hel"
    assert [one["choices"][0]["finish_reason"] for one in events] == [None] * 4 + ["length"]
    assert {one["object"] for one in events} == {"chat.completion.chunk"}
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "hello"}
    assert whole["choices"][0]["finish_reason"] == "stop"


async def test_the_openai_package_can_use_it() -> None:
    openai = pytest.importorskip("openai")
    async with (
        FaultServer(lambda _: "hello") as server,
        openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="-", max_retries=0) as client,
    ):
        events = await client.completions.create(model="m", prompt="p", stream=True)
        texts = [event.choices[0].text async for event in events]
        messages = [{"role": "user", "content": "p"}]
        chat = await client.chat.completions.create(model="m", messages=messages)
        models = [model.id async for model in client.models.list()]
    assert "".join(texts) == "hello"
    assert chat.choices[0].message.content == "hello"
    assert models == ["scripted"]


async def test_what_it_reports_about_itself() -> None:
    server = FaultServer(lambda _: "", model="/models/m", context_length=9)
    async with server, connected(server) as client:
        assert (await client.get("/health")).status_code == 200
        for name in ("model_info", "get_model_info"):
            assert (await client.get(f"/{name}")).json()["model_path"] == "/models/m"
        for name in ("server_info", "get_server_info"):
            assert (await client.get(f"/{name}")).json()["max_req_input_len"] == 9
        assert (await client.post("/flush_cache")).status_code == 200
        assert server.flushes == 1
        assert (await client.get("/nowhere")).status_code == 404
        assert server.requests == []
        assert server.connections == 1


REFUSED: list[tuple[str, Json]] = [
    ("/generate", generate_body(sampling_params={"max_tokens": 5})),
    ("/generate", generate_body(sampling_params={"max_new_tokens": -1})),
    ("/generate", {"rid": "r", "stream": True}),
    ("/generate", generate_body(input_ids=[1, "a"])),
    ("/generate", generate_body(sampling_params=[])),
    ("/v1/completions", {"prompt": ["two", "prompts"]}),
    ("/v1/completions", {"prompt": "p", "n": 2}),
    ("/v1/completions", {"prompt": "p", "stop": 7}),
    ("/v1/completions", {"prompt": "p" * 10}),
    ("/v1/completions", {"prompt": "p", "max_tokens": 10}),
    ("/v1/chat/completions", {"prompt": "p"}),
    ("/v1/chat/completions", {"messages": ["hey"]}),
]


@pytest.mark.parametrize(("path", "body"), REFUSED)
async def test_what_it_refuses(path: str, body: Json) -> None:
    async with FaultServer(lambda _: "", context_length=10) as server, connected(server) as client:
        response = await client.post(path, json=body)
        assert response.status_code == 400
        assert response.json()["error"]["message"]
        assert [request.body for request in server.requests] == [body]


async def test_what_is_not_json_is_refused() -> None:
    async with FaultServer(lambda _: "") as server, connected(server) as client:
        for body in (b"", b"{", b"[1]", b"[" * 100_000):
            for path in ("/generate", "/abort_request"):
                assert (await client.post(path, content=body)).status_code == 400
        assert len(server.requests) == 4


async def test_what_is_not_http_is_refused() -> None:
    async with FaultServer(lambda _: "") as server:
        port = int(server.url.rpartition(":")[2])
        for head in (b"hello", b"POST /generate HTTP/1.1\r\ntransfer-encoding: chunked"):
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(head + b"\r\n\r\n")
                assert (await stream.receive()).startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_prompt_that_is_too_long_is_refused_as_by_sglang(stream: bool) -> None:
    async with FaultServer(lambda _: "", context_length=3) as server, connected(server) as client:
        response = await client.post("/generate", json=generate_body("four", stream=stream))
        assert response.status_code == (200 if stream else 400)
        assert "longer than the model's context length" in response.text
        assert '"code": 400' in response.text


async def test_the_context_bounds_the_answer() -> None:
    server = FaultServer(lambda _: "abcdef", context_length=5)
    async with server, connected(server) as client:
        events = objects(await streamed(client, "/generate", generate_body("two")))
    assert events[-1]["text"] == "ab"


async def test_a_request_id_must_not_be_in_use() -> None:
    hold = anyio.Event()
    server = FaultServer(lambda _: Reply("late", after=hold))
    async with server, connected(server) as client, anyio.create_task_group() as group:
        group.start_soon(streamed, client, "/generate", generate_body())
        await server.until(lambda: server.in_flight == 1)
        events = objects(await streamed(client, "/generate", generate_body()))
        assert events[0]["error"]["message"] == f"Duplicate request ID detected: {'r' * 32}"
        whole = await client.post("/generate", json=generate_body(stream=False))
        assert whole.status_code == 400
        assert "Duplicate" in whole.json()["error"]["message"]
        hold.set()
        await server.until(lambda: server.in_flight == 0)
        assert objects(await streamed(client, "/generate", generate_body()))[-1]["text"] == "late"


async def test_it_records_requests() -> None:
    async with FaultServer(lambda _: "yes") as server, connected(server) as client:
        before = anyio.current_time()
        bodies = [generate_body(rid=letter * 32) for letter in "ab"]
        for body in bodies:
            await streamed(client, "/generate", body)
        await streamed(client, "/v1/completions", {"prompt": "p", "stream": True})
        await server.until(lambda: server.in_flight == 0)
        assert server.rids[:2] == ["a" * 32, "b" * 32]
        assert server.rids[2].startswith("cmpl-")
        assert [request.body for request in server.requests[:2]] == bodies
        times = [before, *(request.at for request in server.requests), anyio.current_time()]
        assert times == sorted(times)
        assert {request.connection for request in server.requests} == {server.connections} == {1}
        assert server.disconnects == server.aborts == []


async def test_until_has_a_time_limit() -> None:
    async with FaultServer(lambda _: "yes") as server:
        with pytest.raises(TimeoutError):
            await server.until(lambda: server.requests, within=0.01)


async def test_connection_close_is_respected() -> None:
    async with FaultServer(lambda _: "yes") as server, connected(server) as client:
        for _ in range(2):
            await client.get("/health", headers={"connection": "close"})
        assert server.connections == 2


async def test_an_error_of_the_block_propagates_unchanged() -> None:
    with pytest.raises(ZeroDivisionError):
        async with FaultServer(lambda _: ""):
            raise ZeroDivisionError


async def test_an_error_of_the_script_fails_the_test() -> None:
    def script(prompt: str) -> str:
        raise ZeroDivisionError(prompt)

    with pytest.raises(BaseExceptionGroup) as caught:
        async with FaultServer(script) as server, connected(server) as client:
            await client.post("/generate", json=generate_body("why"))
    assert caught.group_contains(ZeroDivisionError, match="why")


async def test_characters_of_several_ids_are_never_split() -> None:
    class Bytes(CharTokenizer):
        def encode(self, text: str) -> list[int]:
            return list(text.encode())

        def decode(self, ids: Sequence[int]) -> str:
            return bytes(ids).decode(errors="replace")

    server = FaultServer(lambda _: "aé€b", tokenizer=Bytes())
    async with server, connected(server) as client:
        events = objects(await streamed(client, "/generate", generate_body()))
    assert [one["text"] for one in events] == ["a", "a", "aé", "aé", "aé", "aé€", "aé€b", "aé€b"]
