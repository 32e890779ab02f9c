"""The requests to an OpenAI-compatible server and the events that it returns."""

from __future__ import annotations

from typing import Any

import pytest

from sprint_agent.engine import Sampling, TokenUsage
from sprint_agent.engines.openai import wire
from sprint_agent.engines.openai.wire import Chunk, ServerQuirks
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


def test_a_stop_is_sent_only_with_the_parameter_that_keeps_it() -> None:
    body = wire.parameters(SAMPLING, 24, ("x",), ServerQuirks("keep"))
    assert (body["stop"], body["keep"]) == (["x"], True)
    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert not wire.parameters(SAMPLING, 24, (), ServerQuirks("keep")).keys() & {"stop", "keep"}


def test_refused_parameters_are_omitted() -> None:
    refuses = frozenset({"max_tokens", "temperature", "stream_options"})
    body = wire.parameters(SAMPLING, 24, (), ServerQuirks(refuses=refuses))
    assert body == {"stream": True, "top_p": 0.9, "seed": 11, "max_completion_tokens": 24}


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ({"message": "Unsupported parameter: 'max_tokens' is not supported."}, "max_tokens"),
        ({"message": "unsupported value: 'temperature'"}, "temperature"),
        ({"message": "no", "code": "unsupported_parameter", "param": "seed"}, "seed"),
        ({"error": {"message": "no", "code": "unsupported_value", "param": "top_p"}}, "top_p"),
        ({"detail": "body: stream_options: extra fields not permitted"}, "stream_options"),
        ({"message": "json_schema is not supported"}, "response_format"),
        ({"message": "unsupported parameter: 'model'"}, None),
        ({"message": "temperature must be at most 2"}, None),
    ],
)
def test_after_a_refusal(error: object, name: str | None) -> None:
    quirks = ServerQuirks("keep")
    expected = None if name is None else ServerQuirks("keep", frozenset({name}))
    for status in (400, 422):
        assert quirks.after_refusal(status, error) == expected
    assert quirks.after_refusal(500, error) is None
    if expected is not None:
        assert expected.after_refusal(400, error) is None


EVENTS: list[tuple[dict[str, Any], Chunk]] = [
    ({"choices": [{"text": "A"}]}, Chunk("A", generated=True)),
    ({"choices": [{"text": ""}]}, Chunk()),
    ({"choices": [{"delta": {"content": "A"}}]}, Chunk("A", generated=True)),
    ({"choices": [{"delta": {"reasoning": "A"}}]}, Chunk(generated=True)),
    ({"choices": [{"delta": {"refusal": "A"}}]}, Chunk(refusal="A", generated=True)),
    ({"choices": [{"delta": None, "finish_reason": "stop"}]}, Chunk(finish="stop")),
    ({"choices": []}, Chunk()),
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


@pytest.mark.parametrize("event", [{}, {"choices": ["A"]}, {"choices": [{"text": 7}]}])
def test_a_malformed_event(event: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a"):
        wire.read_chunk(event)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (COUNTS, TokenUsage(3, 2, 0)),
        ({**COUNTS, "prompt_tokens_details": {"cached_tokens": 1}}, TokenUsage(3, 2, 1)),
        ({**COUNTS, "prompt_tokens_details": {"cached_tokens": None}}, TokenUsage(3, 2, 0)),
        ({"prompt_tokens": 3}, None),
        (None, None),
    ],
)
def test_the_usage(usage: object, expected: TokenUsage | None) -> None:
    assert wire.read_usage(usage) == expected


def test_finish_reasons() -> None:
    assert wire.finish_reason(URL, "stop") == "end"
    assert wire.finish_reason(URL, "length") == "length"
    for finish, message in (
        ("content_filter", "content filter"),
        ("tool_calls", "called a tool"),
        ("weather", "finish reason 'weather'"),
    ):
        with pytest.raises(EngineError, match=message):
            wire.finish_reason(URL, finish)


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


def test_the_field_of_an_error() -> None:
    assert wire.error_field({"code": 7}, "code") == 7
    assert wire.error_field({"error": {"code": 7}}, "code") == 7
    assert wire.error_field({"error": "no"}, "code") is None
    assert wire.error_field("no", "code") is None
