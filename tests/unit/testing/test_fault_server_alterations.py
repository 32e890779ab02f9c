"""FaultServer with what users' servers do: refusals, odd ends, wrong usage, heartbeats."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sprint_agent.testing import (
    Aborted,
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
    TooManyTokens,
    Unlimited,
    Unstreamed,
)
from tests.unit.testing.http_client import connected, generate_body, streamed

pytestmark = pytest.mark.anyio

PATH = "/generate"
CHAT = "/v1/chat/completions"


def echo(prompt: str) -> str:
    return prompt


def chat(**more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "p"}], **more}


async def answers(path: str, fault: Fault, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the events of one answer "abc", without `[DONE]`."""
    async with FaultServer(lambda prompt: "abc") as server, connected(server) as client:
        server.fail(fault)
        return [
            json.loads(event) for event in await streamed(client, path, body) if event[0] == "{"
        ]


async def test_a_parameter_that_is_refused() -> None:
    async with FaultServer(echo) as server, connected(server) as client:
        server.fail(Refused("seed", "no {parameter}"), Refused("top_p", code=422, body=b"nope"))
        refused = await client.post(CHAT, json=chat(seed=1))
        assert (refused.status_code, refused.json()["error"]["message"]) == (400, "no seed")
        refused = await client.post(CHAT, json=chat(top_p=1))
        assert (refused.status_code, refused.text) == (422, "nope")
        nested = generate_body(sampling_params={"top_p": 1})
        assert (await client.post(PATH, json=nested)).status_code == 422
        assert (await client.post(CHAT, json=chat())).status_code == 200
        assert len(server.faults) == 2


async def test_too_many_tokens() -> None:
    async with FaultServer(echo) as server, connected(server) as client:
        server.fail(TooManyTokens(7))
        refused = await client.post(CHAT, json=chat(max_tokens=8))
        assert "too large: 8. This model supports at most 7" in refused.json()["error"]["message"]
        refused = await client.post(PATH, json=generate_body(sampling_params={"max_new_tokens": 8}))
        assert refused.status_code == 400
        assert (await client.post(CHAT, json=chat(max_completion_tokens=7))).status_code == 200


async def test_finish_reasons_in_each_event_or_in_other_words() -> None:
    for path, body in ((PATH, generate_body()), (CHAT, chat(stream=True))):

        def reasons(events: list[dict[str, Any]]) -> list[Any]:
            choices = [event["choices"][0] for event in events if event.get("choices")]
            metas = [
                event["meta_info"]["finish_reason"] for event in events if "meta_info" in event
            ]
            return [choice["finish_reason"] for choice in choices] + [
                m and m["type"] for m in metas
            ]

        assert set(reasons(await answers(path, EarlyFinish("eos"), body))) == {"eos"}
        *others, last = reasons(await answers(path, FinishedAs("eos"), body))
        assert (set(others), last) == ({None}, "eos")


async def test_usage_that_is_wrong_or_missing() -> None:
    fault = Miscounted(prompt=-1, completion=None, cached=9)
    event = (await answers(PATH, fault, generate_body()))[-1]["meta_info"]
    assert (event["prompt_tokens"], event["cached_tokens"]) == (-1, 9)
    assert "completion_tokens" not in event
    body = chat(stream=True, stream_options={"include_usage": True})
    usage = (await answers(CHAT, fault, body))[-1]["usage"]
    assert usage == {"prompt_tokens": -1, "prompt_tokens_details": {"cached_tokens": 9}}


async def test_an_answer_in_parts_without_a_limit_or_in_one_piece() -> None:
    (content,) = (await answers(CHAT, Parts(), chat(stream=True)))[1]["choices"]
    assert [part["type"] for part in content["delta"]["content"]] == ["thinking", "text"]
    short = generate_body(sampling_params={"max_new_tokens": 1})
    assert (await answers(PATH, Unlimited(), short))[-1]["text"] == "abc"
    assert (await answers(PATH, Noise(b"data: {}\n\n"), generate_body())).count({}) == 4
    async with FaultServer(lambda prompt: "abc") as server, connected(server) as client:
        server.fail(Unstreamed())
        assert (await client.post(PATH, json=generate_body())).json()["text"] == "abc"


async def test_forms_of_an_error_inside_a_stream() -> None:
    async with FaultServer(echo) as server, connected(server) as client:
        forms: list[tuple[Any, str]] = [
            ("data", 'data: {"error": {'),
            ("event", 'event: error\ndata: {"error": {'),
            ("field", 'error: {"message": "no"'),
            ("line", '{"error": {'),
        ]
        for form, begin in forms:
            server.fail(Failure("no", "503", kind="server_error", form=form))
            text = (await client.post(PATH, json=generate_body())).text
            assert text.startswith(begin)
            assert '"code": "503", "type": "server_error"' in text
        server.fail(Aborted("503", "no"))
        text = (await client.post(PATH, json=generate_body())).text
        assert '{"type": "abort", "message": "no", "status_code": "503"' in text


@pytest.mark.parametrize("finish", [False, True])
async def test_heartbeats_until_the_client_leaves(finish: bool) -> None:
    async with FaultServer(lambda prompt: "abc") as server, connected(server) as client:
        server.fail(Heartbeats(2, finish=finish, data=b": x\n\n"))
        seen = ""
        async with client.stream("POST", CHAT, json=chat(stream=True)) as response:
            async for text in response.aiter_text():
                seen += text
                if seen.count(": x") == 3:
                    break
        assert ('"finish_reason": "stop"' in seen) is finish
        await server.until(lambda: server.in_flight == 0)
