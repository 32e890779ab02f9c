"""The checks of a request that every engine makes."""

from __future__ import annotations

import math

import pytest

from sprint_agent.engine import Request, Sampling
from sprint_agent.engines.validate import checked_prompt, checked_text
from sprint_agent.errors import ContextTooLong, RequestRefused


def test_a_valid_prompt_is_returned() -> None:
    assert checked_prompt(Request((0, 9)), vocab_size=10, context_length=3) == (0, 9)
    assert checked_prompt(Request((0,) * 99), vocab_size=10, context_length=None) == (0,) * 99
    assert checked_text(Request("text")) == "text"


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("text", "takes ids"),
        ((), "prompt is empty"),
        ((0, 10), "outside 0 to 9"),
        ((-1, 0), "outside 0 to 9"),
    ],
)
def test_an_invalid_prompt_of_ids(prompt: tuple[int, ...] | str, message: str) -> None:
    with pytest.raises(RequestRefused, match=message) as caught:
        checked_prompt(Request(prompt), vocab_size=10, context_length=99)
    assert type(caught.value) is RequestRefused


@pytest.mark.parametrize(("prompt", "message"), [((1,), "takes text"), ("", "prompt is empty")])
def test_an_invalid_prompt_of_text(prompt: tuple[int, ...] | str, message: str) -> None:
    with pytest.raises(RequestRefused, match=message):
        checked_text(Request(prompt))


def test_a_prompt_must_leave_room_for_one_id() -> None:
    assert checked_prompt(Request((1,) * 9), 10, 10) == (1,) * 9
    for length in (10, 11):
        with pytest.raises(ContextTooLong, match=f"the prompt has {length} ids and the context 10"):
            checked_prompt(Request((1,) * length), 10, 10)


@pytest.mark.parametrize("sampling", [Sampling(1, 0.0, 1.0), Sampling(1, 9.0, 1e-9)])
def test_valid_sampling(sampling: Sampling) -> None:
    assert checked_text(Request("text", sampling)) == "text"


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(max_tokens=0), "max_tokens is 0"),
        (Sampling(temperature=-0.1), "temperature is -0.1"),
        (Sampling(temperature=math.inf), "temperature is inf"),
        (Sampling(temperature=math.nan), "temperature is nan"),
        (Sampling(top_p=0.0), "top_p is 0.0"),
        (Sampling(top_p=1.1), "top_p is 1.1"),
        (Sampling(top_p=math.nan), "top_p is nan"),
    ],
)
def test_invalid_sampling(sampling: Sampling, message: str) -> None:
    with pytest.raises(RequestRefused, match=message):
        checked_text(Request("text", sampling))
    with pytest.raises(RequestRefused, match=message):
        checked_prompt(Request((1,), sampling), 10, None)


def test_an_empty_stop_string() -> None:
    with pytest.raises(RequestRefused, match="stop string is empty"):
        checked_text(Request("text", stop=("a", "")))
