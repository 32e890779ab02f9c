"""What servers say when they fail."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sprint_agent.engines.server_errors import (
    ErrorReply,
    error_field,
    error_in,
    error_message,
    read_status,
    shortened,
    status_error,
)
from sprint_agent.errors import ContextTooLong, EngineError, EngineUnavailable, RequestRefused


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (400, RequestRefused, "the server at http://h refused the request: no"),
        (429, EngineUnavailable, "the server at http://h is too busy (429): no"),
        (500, EngineUnavailable, "the server at http://h failed (500): no"),
        (307, EngineError, "the server at http://h aborted the request: no"),
        (None, EngineError, "the server at http://h aborted the request: no"),
    ],
)
def test_the_error_for_a_status(status: object, kind: type[EngineError], message: str) -> None:
    error = status_error("http://h", status, {"error": {"message": "no"}}, {"retry-after": "7"})
    assert (type(error), str(error)) == (kind, message)
    assert error.retry_after == (7.0 if kind is EngineUnavailable else None)


TOO_LONG: list[Any] = [
    {"message": "exceeds the context size"},
    {"message": "This model's maximum context length is 8 tokens"},
    {"error": {"message": "no", "code": "context_length_exceeded"}},
    {"error": {"message": "no", "type": "exceed_context_size_error"}},
    {"message": "prompt is too long: 9 tokens > 8 maximum"},
    {"message": "The input (9 tokens) is longer than the model's context length (8 tokens)."},
    {"message": "`inputs` tokens + `max_new_tokens` must be <= 8"},
]


@pytest.mark.parametrize("body", TOO_LONG)
def test_a_context_that_is_too_small(body: object) -> None:
    for status in (400, 413, None):
        assert type(status_error("http://h", status, body)) is ContextTooLong
    assert type(status_error("http://h", 503, body)) is EngineUnavailable


def test_an_account_that_must_be_paid_is_not_busy() -> None:
    body = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    error = status_error("http://h", 429, body)
    assert not error.transient
    assert "pay" in str(error)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": {"code": 503}}, 503),
        ({"error": {"code": "503"}}, 503),
        ({"error": {"code": 503.0}}, 503),
        ({"code": 400}, 400),
        ({"error": {"type": "overloaded_error"}}, 503),
        ({"type": "error", "error": {"type": "overloaded_error"}}, 503),
        ({"error": {"type": "tokens", "code": "rate_limit_exceeded"}}, 429),
        ({"error": {"status": "UNAVAILABLE"}}, 503),
        ({"error": {"code": 20, "type": "server_error"}}, 500),
        ({"error": {"type": "invalid_request_error", "code": None}}, 400),
        ({"error": "The server is currently overloaded, try again later"}, 503),
        ({"status_code": None, "message": "no"}, None),
        ({"error": "no"}, None),
        ({"error": {"code": True}}, None),
        ({"code": 0}, None),
        ("text", None),
        (None, None),
    ],
)
def test_the_status_in_a_body(body: object, status: int | None) -> None:
    assert read_status(body) == status


@pytest.mark.parametrize(
    ("event", "is_error"),
    [
        ({"error": "no"}, True),
        ({"error": {"message": "no"}, "choices": []}, True),
        ({"object": "error", "message": "no"}, True),
        ({"type": "error"}, True),
        ({"message": "no", "code": 400}, True),
        ({"error": None, "choices": []}, False),
        ({"error": "", "meta_info": {}}, False),
        ({"error": {}}, False),
        ({"choices": [], "code": 400, "message": "no"}, False),
        ({"type": "ping"}, False),
        ({}, False),
    ],
)
def test_an_error_in_an_event(event: dict[str, object], is_error: bool) -> None:
    assert isinstance(error_in(event), ErrorReply) is is_error


def test_the_message_of_an_error_is_one_short_line() -> None:
    assert error_message({"error": {"message": "a\n b"}}) == "a b"
    assert error_message({"detail": "a"}) == "a"
    assert error_message([{"error": {"message": "a"}}]) == "a"
    assert error_message("a") == "a"
    assert error_message("a\ud83d") == "a?"
    for nothing in ("", None, {}, {"error": {}}, " "):
        assert error_message(nothing).strip()
    assert error_message("") == error_message({}) == "it gave no reason"
    assert len(error_message("a" * 1000)) == 300
    assert "seed" in error_message({"detail": [{"loc": ["body", "seed"], "msg": "no"}]})
    assert shortened("<html><title>Log in</title><p>x") == "Log in"
    assert shortened("<p>Bad <b>gateway</b></p>") == "Bad gateway"


def test_a_message_that_is_nested_too_deeply() -> None:
    body: Any = "a"
    for _ in range(100_000):
        body = [body, body] if body == "a" else [body, 1]
    assert error_message(body) == "its reason is nested too deeply"
    while isinstance(body, list):  # freed step by step
        body = body[0]


def test_the_field_of_an_error() -> None:
    assert error_field({"code": 7}, "code") == 7
    assert error_field({"error": {"code": 7}}, "code") == 7
    assert error_field({"error": "no"}, "code") is None
    assert error_field("no", "code") is None


@pytest.mark.parametrize("piece", ["<", "<title", "<p>", " ", "try ", "context "])
def test_no_body_takes_long(piece: str) -> None:
    body = piece * (1_000_000 // len(piece))
    began = time.process_time()
    status_error("http://h", read_status({"error": body}), {"error": body})
    assert time.process_time() - began < 5
