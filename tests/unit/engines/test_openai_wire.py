"""The requests to an OpenAI-compatible server and the events that it returns."""

from __future__ import annotations

from typing import Any

import pytest

from sprint_agent.engine import Sampling, TokenUsage
from sprint_agent.engines.openai import wire
from sprint_agent.engines.openai.dialect import ServerQuirks
from sprint_agent.engines.openai.wire import Chunk
from sprint_agent.errors import ContextTooLong, EngineError, EngineUnavailable, RequestRefused

URL = "http://h/v1"
SAMPLING = Sampling(temperature=0.7, top_p=0.9, seed=11)


def test_a_model_in_a_list() -> None:
    cards = [{"id": "other"}, {"id": "m", "owned_by": "sglang", "max_model_len": 600}]
    assert wire.read_model({"data": cards}, "m") == (ServerQuirks("no_stop_trim"), 600)
    assert wire.read_model({"data": cards}, "other") == (ServerQuirks(), None)
    assert wire.read_model({"data": cards}, "third") == (ServerQuirks(), None)
    assert wire.read_model({}, "m") == (ServerQuirks(), None)


def test_the_parameters() -> None:
    assert wire.parameters(SAMPLING, 24, ("x",), ServerQuirks()) == {
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 24,
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 11,
    }


def test_a_top_p_of_1_is_not_sent() -> None:
    assert "top_p" not in wire.parameters(Sampling(), 24, (), ServerQuirks())


def test_a_server_is_asked_for_no_more_tokens_than_it_allows() -> None:
    assert wire.parameters(SAMPLING, 24, (), ServerQuirks(most_tokens=7))["max_tokens"] == 7
    assert wire.parameters(SAMPLING, 24, (), ServerQuirks(most_tokens=70))["max_tokens"] == 24


def test_a_stop_is_sent_only_with_the_parameter_that_keeps_it() -> None:
    body = wire.parameters(SAMPLING, 24, ("x",), ServerQuirks("keep"))
    assert (body["stop"], body["keep"]) == (["x"], True)
    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert not wire.parameters(SAMPLING, 24, (), ServerQuirks("keep")).keys() & {"stop", "keep"}


def test_refused_parameters_are_omitted() -> None:
    refuses = frozenset({"max_tokens", "temperature", "stream_options"})
    body = wire.parameters(SAMPLING, 24, (), ServerQuirks(refuses=refuses))
    assert body == {"stream": True, "top_p": 0.9, "seed": 11, "max_completion_tokens": 24}
    refuses = frozenset({"stream", "max_tokens", "max_completion_tokens", "temperature"})
    body = wire.parameters(SAMPLING, 24, (), ServerQuirks(refuses=refuses))
    assert body == {"top_p": 0.9, "seed": 11}
    quirks = ServerQuirks("keep", frozenset({"continuous_usage_stats"}))
    body = wire.parameters(SAMPLING, 24, ("x",), quirks)
    assert body["stream_options"] == {"include_usage": True}


EVENTS: list[tuple[dict[str, Any], Chunk]] = [
    ({"choices": [{"text": "A"}]}, Chunk("A", generated=True)),
    ({"choices": [{"text": ""}]}, Chunk()),
    ({"choices": [{"delta": {"content": "A"}}]}, Chunk("A", generated=True)),
    ({"choices": [{"delta": {"reasoning": "A"}}]}, Chunk(generated=True)),
    ({"choices": [{"delta": {"refusal": "A"}}]}, Chunk(refusal="A", generated=True)),
    ({"choices": [{"delta": None, "finish_reason": "stop"}]}, Chunk(finish="stop")),
    ({"choices": []}, Chunk()),
    ({"type": "ping"}, Chunk()),
    (
        {"choices": [{"message": {"content": "A"}, "finish_reason": "stop"}]},
        Chunk("A", generated=True, finish="stop"),
    ),
    (
        {"choices": [{"delta": {"content": [{"type": "text", "text": "A"}, "B"]}}]},
        Chunk("AB", generated=True),
    ),
    (
        {"choices": [{"delta": {"content": [{"type": "thinking", "thinking": []}]}}]},
        Chunk(generated=True),
    ),
    ({"choices": [{"delta": {"content": []}}]}, Chunk()),
]
COUNTS = {"prompt_tokens": 3, "completion_tokens": 2}


@pytest.mark.parametrize(("event", "expected"), EVENTS)
def test_an_event(event: dict[str, Any], expected: Chunk) -> None:
    assert wire.read_chunk(event) == expected


def test_an_event_with_only_the_usage_is_the_last() -> None:
    assert wire.read_chunk({"choices": [], "usage": COUNTS}) == Chunk(
        usage=TokenUsage(3, 2), last=True
    )
    assert not wire.read_chunk({"choices": [{"text": "A"}], "usage": COUNTS}).last


def test_an_event_without_choices_may_have_the_usage() -> None:
    assert wire.read_chunk({"usage": COUNTS}) == Chunk(usage=TokenUsage(3, 2), last=True)


def test_the_beginning_of_an_answer() -> None:
    begins = [event for event, _ in EVENTS if wire.begins_answer(event)]
    assert {"choices": []} not in begins
    assert {"choices": [{"text": "A"}]} in begins
    assert wire.begins_answer({"choices": [{"text": 7}]})


@pytest.mark.parametrize("event", [{"choices": 7}, {"choices": ["A"]}, {"choices": [{"text": 7}]}])
def test_a_malformed_event(event: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a"):
        wire.read_chunk(event)


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, {"message": "no"}, RequestRefused, "refused the request: no"),
        (400, {"error": {"code": "context_length_exceeded"}}, ContextTooLong, "fewer max_tokens"),
        (400, {"message": "exceeds the context size"}, ContextTooLong, "exceeds the context size"),
        (401, {"message": "no"}, RequestRefused, r"pass api_key=.*\(no\)"),
        (404, {"message": "no"}, RequestRefused, r"check model=.*\(no\)"),
        (503, {"message": "context length"}, EngineUnavailable, "failed"),
        (None, {"message": "no"}, EngineError, "aborted the request: no"),
    ],
)
def test_errors(status: object, body: object, kind: type[EngineError], message: str) -> None:
    error = wire.status_error(URL, status, body)
    assert type(error) is kind
    with pytest.raises(kind, match=message):
        raise error
    assert "\n" not in str(error)
