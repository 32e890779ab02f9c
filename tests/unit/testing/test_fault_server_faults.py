"""FaultServer with faults: each does what its name says, and nothing else."""

from __future__ import annotations

import json

import anyio
import httpx2
import pytest

from sprint_agent.engines.sse import SseDecoder
from sprint_agent.testing import (
    ALL,
    BAD_JSON,
    BAD_SSE,
    Declined,
    Drip,
    Failure,
    Fault,
    FaultServer,
    Filtered,
    Garbage,
    Reply,
    Reset,
    SingleNewlines,
    Slow,
    Status,
    Truncated,
    Unfinished,
)
from tests.unit.testing.http_client import (
    connected,
    generate_body,
    objects,
    post,
    raw_connection,
    read_to_end,
    streamed,
    texts,
    wait_for_events,
)

pytestmark = pytest.mark.anyio

PATH = "/generate"
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


def echo(prompt: str) -> str:
    return prompt


def chat(**more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "p"}], **more}


async def test_an_http_status_happens_as_often_as_requested() -> None:
    async with FaultServer(echo) as server, connected(server) as client:
        server.fail(Status(429, retry_after=2, times=2), Status(503, message="no room"))
        answers = [await client.post(PATH, json=generate_body()) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [429, 429, 503, 200]
        assert [answer.headers.get("retry-after") for answer in answers] == ["2", "2", None, None]
        assert answers[2].json()["error"]["message"] == "no room"
        assert server.faults == ()
        assert len(server.requests) == 4
        server.fail(Status(418, body=b"short and stout"))
        assert (await client.post(PATH, json=generate_body())).text == "short and stout"
        for given, sent in (
            (0.5, "0.5"),
            ("Wed, 21 Oct 2026 07:28:00 GMT",) * 2,
            (86_400, "86400"),
        ):
            server.fail(Status(503, retry_after=given))
            assert (await client.post(PATH, json=generate_body())).headers["retry-after"] == sent


async def test_the_queue_of_faults() -> None:
    """The first fault for the path is used. A fault whose `times` is None stays for ever."""
    async with FaultServer(echo) as server, connected(server) as client:
        forever = Status(599, path=COMPLETIONS, times=None)
        server.fail(Status(500, path="/health"), forever, Status(501), Status(502, times=2))

        async def got(*paths: str) -> list[int]:
            body = generate_body(prompt="p", messages=[{"role": "user", "content": "p"}])
            return [(await client.post(path, json=body)).status_code for path in paths]

        assert await got("/flush_cache", COMPLETIONS, PATH) == [200, 599, 501]
        assert server.faults == (Status(500, path="/health"), forever, Status(502, times=2))
        assert await got(CHAT, COMPLETIONS, PATH, PATH) == [502, 599, 502, 200]
        assert await got("/health", "/health") == [500, 200]
        assert server.faults == (forever,)


async def test_a_gate_lets_one_event_pass_at_a_time() -> None:
    gate = anyio.Semaphore(0)
    events: list[str] = []
    server = FaultServer(echo)
    async with server, connected(server) as client, anyio.create_task_group() as group:
        server.fail(Slow(gate=gate))
        group.start_soon(streamed, client, PATH, generate_body("abc"), events)
        await server.until(lambda: server.in_flight == 1)
        for count in range(4):
            # Without a release, no further event can arrive, however long the test waits.
            await anyio.wait_all_tasks_blocked()
            assert len(events) <= count
            gate.release()
            await wait_for_events(events, count + 1)
    assert [json.loads(event)["text"] for event in events[:4]] == ["a", "ab", "abc", "abc"]


@pytest.mark.parametrize("stream", [True, False])
async def test_slow_delays_each_event(stream: bool) -> None:
    async with FaultServer(echo) as server, connected(server) as client:
        server.fail(Slow(0.02), Slow(0.05, path="/health"))
        start = anyio.current_time()
        await client.post(PATH, json=generate_body("abc", stream=stream))
        middle = anyio.current_time()
        await client.get("/health")
        assert middle - start >= 4 * 0.02
        assert anyio.current_time() - middle >= 0.05


@pytest.mark.parametrize("data", [BAD_JSON, BAD_SSE, b"data: [1]\n\n", b""])
async def test_garbage_replaces_the_rest(data: bytes) -> None:
    async with FaultServer(lambda _: "abc") as server, connected(server) as client:
        server.fail(Garbage(data, after=2), Garbage(data), Garbage(data, path="/model_info"))
        response = await client.post(PATH, json=generate_body())
        head = response.content.removesuffix(data)
        assert len(head) == len(response.content) - len(data)
        assert texts(SseDecoder().feed(head)) == ["a", "ab"]
        assert (await client.post(COMPLETIONS, json={"prompt": "p"})).content == data
        assert (await client.get("/model_info")).content == data
        assert server.connections == 1


def test_the_predefined_garbage() -> None:
    (event,) = SseDecoder().feed(BAD_JSON)
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(event)
    assert SseDecoder().feed(BAD_SSE) == []


async def test_a_failure_in_the_stream() -> None:
    async with FaultServer(lambda _: "abc") as server, connected(server) as client:
        server.fail(Failure("lost", 503, after=1), Failure("lost", 507))
        first, error = objects(await streamed(client, PATH, generate_body()))
        assert (first["text"], error) == ("a", {"error": {"message": "lost", "code": 503}})
        response = await client.post(COMPLETIONS, json={"prompt": "p"})
        assert response.status_code == 507
        assert response.json()["error"]["message"] == "lost"


@pytest.mark.parametrize("after", [0, 2, ALL])
async def test_a_truncated_stream_is_closed_normally(after: int) -> None:
    async with FaultServer(lambda _: "abc") as server, raw_connection(server) as stream:
        server.fail(Truncated(after))
        await post(stream, generate_body())
        data, how = await read_to_end(stream)
        assert how is anyio.EndOfStream
        assert not data.endswith(b"0\r\n\r\n")
        chunks = data.partition(b"\r\n\r\n")[2].split(b"\r\n")[1::2]
        assert [chunk.endswith(b"\n\n") for chunk in chunks] == [True] * min(after, 3) + [False]
        assert chunks[-1].startswith(b'data: {"text"')


async def test_a_truncated_body() -> None:
    async with FaultServer(lambda _: "abc") as server, connected(server) as client:
        server.fail(Truncated(), Truncated(path="/server_info"))
        for path in (COMPLETIONS, "/server_info"):
            with pytest.raises(httpx2.RemoteProtocolError, match="closed"):
                await client.post(path, json={"prompt": "p"})
        assert server.disconnects == []


ENDS: list[tuple[Unfinished, list[str], bool, bool]] = [
    (Unfinished(), ["a", "ab", "abc"], False, False),
    (Unfinished(1), ["a"], False, False),
    (Unfinished(0, done=True), [], False, True),
    (Unfinished(2, done=True), ["a", "ab"], False, True),
    (Unfinished(finish=True), ["a", "ab", "abc", "abc"], True, False),
]


@pytest.mark.parametrize(("fault", "expected", "finished", "done"), ENDS)
async def test_an_unfinished_stream(
    fault: Unfinished, expected: list[str], finished: bool, done: bool
) -> None:
    async with FaultServer(lambda _: "abc") as server, connected(server) as client:
        server.fail(fault)
        events = await streamed(client, PATH, generate_body())
        assert texts(events) == expected
        reasons = [json.loads(one)["meta_info"]["finish_reason"] for one in events if one[0] == "{"]
        assert any(reasons) == finished
        assert ("[DONE]" in events) == done
        assert server.connections == 1


async def test_an_unfinished_body_has_no_finish_reason() -> None:
    async with FaultServer(lambda _: "abc") as server, connected(server) as client:
        server.fail(Unfinished(2))
        whole = (await client.post(COMPLETIONS, json={"prompt": "p"})).json()
        assert whole["choices"][0] == {
            "index": 0, "text": "ab", "logprobs": None, "finish_reason": None,
        }  # fmt: skip


@pytest.mark.parametrize("path", [PATH, COMPLETIONS])
async def test_single_newlines(path: str) -> None:
    async with FaultServer(lambda _: "abc") as server, connected(server) as client:
        body = generate_body(prompt="p") if path == COMPLETIONS else generate_body()
        lines = (await client.post(path, json=body)).text.split("\n\n")
        server.fail(SingleNewlines())
        bad = (await client.post(path, json=body)).text
        assert bad == "\n".join(lines)
        assert SseDecoder().feed(bad.encode()) == []


async def test_a_content_filter_ends_a_chat_answer() -> None:
    async with FaultServer(lambda _: "so far") as server, connected(server) as client:
        server.fail(Filtered(after=2, times=2))
        assert (await client.post(PATH, json=generate_body(stream=False))).json()[
            "text"
        ] == "so far"
        (choice,) = (await client.post(CHAT, json=chat())).json()["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("so", "content_filter")
        answer = objects(await streamed(client, CHAT, chat(stream=True)))
        choices = [one for event in answer for one in event["choices"]]
        assert "".join(one["delta"].get("content", "") for one in choices) == "so"
        assert [one["finish_reason"] for one in choices if one["finish_reason"]] == [
            "content_filter"
        ]
        assert server.faults == ()


async def test_a_model_that_declines() -> None:
    async with FaultServer(lambda _: "I will not") as server, connected(server) as client:
        server.fail(Declined(times=2))
        (choice,) = (await client.post(CHAT, json=chat())).json()["choices"]
        assert choice["message"] == {
            "role": "assistant",
            "content": None,
            "refusal": "I will not",
        }
        assert choice["finish_reason"] == "stop"
        answer = objects(await streamed(client, CHAT, chat(stream=True)))
        deltas = [one["delta"] for event in answer for one in event["choices"]]
        assert "".join(delta.get("refusal", "") for delta in deltas) == "I will not"
        assert not any(delta.get("content") for delta in deltas)


async def test_a_drip_sends_the_same_answer_in_single_bytes() -> None:
    async with FaultServer(lambda _: "é") as server, connected(server) as client:
        whole = await client.post(PATH, json=generate_body())
        server.fail(Drip())
        async with raw_connection(server) as stream:
            await post(stream, generate_body())
            data, _ = await read_to_end(stream)
        sizes = data.partition(b"\r\n\r\n")[2].split(b"\r\n")[0::2]
        assert set(sizes) == {b"1", b"0", b""}
        assert len(sizes) == len(whole.content) + 2


async def test_what_a_script_may_reply() -> None:
    first, second = anyio.Event(), anyio.Event()
    replies = {
        "late": Reply("late", after=first, sets=second),
        "hang": Reply("hm", hang=True),
        "fail": Reply("hm", error=ValueError("lost")),
        "long": Reply("hm", reason="length"),
        "slow": Reply("hm", delay=0.02),
    }
    events: list[str] = []
    server = FaultServer(lambda prompt: replies[prompt])
    async with server, connected(server) as client, anyio.create_task_group() as group:
        group.start_soon(streamed, client, PATH, generate_body("late"), events)
        await server.until(lambda: server.in_flight == 1)
        assert (events, second.is_set()) == ([], False)
        first.set()
        with anyio.fail_after(30):
            await second.wait()
        answer = objects(await streamed(client, PATH, generate_body("fail", rid="f")))
        assert [one.get("text") for one in answer] == ["h", "hm", None]
        assert answer[-1]["error"]["message"] == "lost"
        answer = objects(await streamed(client, PATH, generate_body("long", rid="l")))
        assert answer[-1]["meta_info"]["finish_reason"] == {"type": "length", "length": 2}
        start = anyio.current_time()
        await streamed(client, PATH, generate_body("slow", rid="s"))
        assert anyio.current_time() - start >= 3 * 0.02
        hung: list[str] = []
        group.start_soon(streamed, client, PATH, generate_body("hang", rid="h"), hung)
        await wait_for_events(hung, 2)
        await anyio.wait_all_tasks_blocked()
        assert (texts(hung), server.in_flight) == (["h", "hm"], 1)
        await client.post("/abort_request", json={"rid": "h"})
    assert texts(events)[-1] == "late"


def test_a_fault_is_a_value() -> None:
    assert Reset(3) == Reset(3) != Reset(4)
    assert isinstance(Status(500), Fault)
    with pytest.raises(AttributeError):
        Status(500).code = 3  # type: ignore[misc]
