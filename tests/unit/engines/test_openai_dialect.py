"""What OpenAI-compatible servers refuse, and in which words."""

from __future__ import annotations

import time

import pytest

from sprint_agent.engines.openai.dialect import ServerQuirks, fewer_tokens, refused_parameter

REFUSALS: list[tuple[str, str | None]] = [
    (
        "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
        "max_tokens",
    ),
    (
        "Unsupported value: 'temperature' does not support 0.6. Only the default (1) is supported.",
        "temperature",
    ),
    ("Unrecognized request argument supplied: stream_options", "stream_options"),
    ("Unsupported parameter(s): `seed`, `top_p`", "seed"),
    ("openai does not support parameters: ['stream_options'], for model=x", "stream_options"),
    ("seed: Extra inputs are not permitted", "seed"),
    ("`temperature` is deprecated for this model.", "temperature"),
    ("`temperature` and `top_p` cannot both be specified. Please use only one.", "top_p"),
    ('Unknown name "seed": Cannot find field.', "seed"),
    ("property 'stream_options' is unsupported", "stream_options"),
    ("extraneous key [seed] is not permitted, please reformat your input", "seed"),
    ("Argument not supported on this model: topP", "top_p"),
    ("unknown field `seed`, expected one of `model`, `temperature`, `top_p`", "seed"),
    ("create() got an unexpected keyword argument 'seed'", "seed"),
    ("body: stream_options: extra fields not permitted", "stream_options"),
    ("invalid temperature: only 1 is allowed for this model", "temperature"),
    ("`temperature` may only be set to 1 when thinking is enabled", "temperature"),
    ("json_schema is not supported", "response_format"),
    ("This response_format type is unavailable now", "response_format"),
    ("response format is not supported", "response_format"),
    ("Streaming is not supported for this model", "stream"),
    ("[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs'}]", "seed"),
    ("unsupported parameter: 'model'", None),
    ("unsupported parameter: 'frequency_penalty'", None),
    ("temperature must be at most 2", None),
    ("temperature: Input should be less than or equal to 1", None),
    ("The model `m` does not exist", None),
    ("no such thing", None),
]


@pytest.mark.parametrize(("message", "name"), REFUSALS)
def test_the_parameter_that_a_message_refuses(message: str, name: str | None) -> None:
    for body in (
        {"message": message},
        {"error": {"message": message}},
        {"error": message},
        message,
    ):
        assert refused_parameter(400, body) == name
        assert refused_parameter(None, body) == name
        assert refused_parameter(429, body) is None


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"message": "no", "code": "unsupported_parameter", "param": "seed"}, "seed"),
        ({"error": {"message": "no", "code": "unsupported_value", "param": "top_p"}}, "top_p"),
        ({"message": "no", "code": "unsupported_value", "param": "model"}, None),
        ({"detail": [{"loc": ["body", "stream_options"], "msg": "no"}]}, "stream_options"),
        (
            {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra"}]},
            "seed",
        ),
        (
            {"message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"]}]}},
            "seed",
        ),
        (
            {"detail": [{"type": "less_than_equal", "loc": ["body", "seed"], "msg": "at most 1"}]},
            None,
        ),
    ],
)
def test_the_place_of_a_refused_parameter(body: object, name: str | None) -> None:
    assert refused_parameter(422, body) == name


def test_quirks_are_learned_one_by_one() -> None:
    quirks = ServerQuirks("keep")
    body = {"message": "unsupported parameter: seed"}
    learned = quirks.after_refusal(400, body)
    assert learned is not None
    assert learned == ServerQuirks("keep", frozenset({"seed"}))
    assert learned.after_refusal(400, body) is None
    assert quirks.after_refusal(500, body) is None
    assert quirks.after_refusal(400, {"message": "no"}) is None


def test_what_another_request_learned_is_tried_again_once() -> None:
    learned = ServerQuirks(refuses=frozenset({"seed"}))
    body = {"message": "unsupported parameter: seed"}
    assert learned.after_refusal(400, body, {"seed", "temperature"}) == learned
    assert learned.after_refusal(400, body, {"temperature"}) is None


def test_a_stop_that_is_refused_is_found_by_the_client() -> None:
    quirks = ServerQuirks("keep")
    assert quirks.without("stop") == ServerQuirks()
    assert quirks.without("keep") == ServerQuirks()


@pytest.mark.parametrize(
    ("message", "tokens"),
    [
        ("max_tokens is too large: 8000. This model supports at most 4096 completion tokens", 4096),
        ("max_tokens: 8000 > 4096, which is the maximum for claude-3-haiku-20240307", 4096),
        ("`max_tokens` must be less than or equal to `4096`", 4096),
        ("The maximum tokens you requested exceeds the model limit of 4,096.", 4096),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 4096]", 4096),
        ("maxOutputTokens is 8000 but the supported range is from 1 to 4097 (exclusive)", 4097),
        ("max_new_tokens exceeds the limit", 4000),
        ("temperature is too large", None),
        ("no such thing", None),
    ],
)
def test_fewer_tokens(message: str, tokens: int | None) -> None:
    assert fewer_tokens(400, {"message": message}, 8000) == tokens
    assert fewer_tokens(500, {"message": message}, 8000) is None
    assert fewer_tokens(400, {"message": message}, 1) is None


def test_the_smaller_of_two_limits_counts() -> None:
    quirks = ServerQuirks().with_most_tokens(100)
    assert quirks.with_most_tokens(50).most_tokens == 50
    assert quirks.with_most_tokens(200).most_tokens == 100


@pytest.mark.parametrize(
    "piece", ["max_tokens ", "not ", "unsupported ", "1,", "seed: ", "expected one of "]
)
def test_no_message_takes_long(piece: str) -> None:
    body = {"message": piece * (1_000_000 // len(piece))}
    began = time.process_time()
    refused_parameter(400, body)
    fewer_tokens(400, body, 8000)
    assert time.process_time() - began < 5
