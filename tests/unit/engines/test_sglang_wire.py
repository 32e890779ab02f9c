"""The requests to an SGLang server and the events that it returns."""

from __future__ import annotations

import pytest

from sprint_agent.engine import Request, RunTag, Sampling
from sprint_agent.engines.sglang import wire
from sprint_agent.errors import ContextTooLong, RequestRefused

PROMPT = (1, 2, 3)
META: dict[str, object] = {"prompt_tokens": 3, "completion_tokens": 2, "cached_tokens": 1}


class TestPriority:
    """Older runs go first if the server has priorities. Otherwise no priority is sent."""

    OLDER, NEWER = (
        Request(PROMPT, run=RunTag(name, began)) for name, began in [("a", 5), ("b", 9)]
    )

    def test_a_greater_number_goes_first(self) -> None:
        state: dict[str, object] = {"enable_priority_scheduling": True}
        older, newer = (wire.priority_of(r, state) for r in (self.OLDER, self.NEWER))
        assert older is not None
        assert newer is not None
        assert older > newer

    def test_a_smaller_number_goes_first_if_the_server_says_so(self) -> None:
        state: dict[str, object] = {"enable_priority_scheduling": True}
        state["schedule_low_priority_values_first"] = True
        assert wire.priority_of(self.OLDER, state) == 5
        assert wire.priority_of(self.NEWER, state) == 9

    def test_none_without_a_run_or_without_priorities(self) -> None:
        assert wire.priority_of(self.OLDER, {}) is None
        assert wire.priority_of(Request(PROMPT), {"enable_priority_scheduling": True}) is None

    def test_the_body_contains_the_priority(self) -> None:
        assert wire.request_body(self.OLDER, 128, None, -5)["priority"] == -5
        assert "priority" not in wire.request_body(self.OLDER, 128, None)


def test_max_tokens_is_limited_by_the_context() -> None:
    for context, expected in ((None, 50), (53, 50), (52, 49), (4, 1)):
        body = wire.request_body(Request(PROMPT, Sampling(max_tokens=50)), 128, context)
        parameters = body["sampling_params"]
        assert isinstance(parameters, dict)
        assert parameters["max_new_tokens"] == expected
    with pytest.raises(ContextTooLong):
        wire.request_body(Request(PROMPT), 128, 3)


def test_a_request_id_of_another_length_is_refused() -> None:
    with pytest.raises(RequestRefused, match=r"'ab' must have 32 characters"):
        wire.request_body(Request(PROMPT, request_id="ab"), 128, None)


def test_an_event() -> None:
    event: dict[str, object] = {"output_ids": [4, 5], "meta_info": META}
    assert wire.read_chunk(event) == wire.Chunk([4, 5], 2, 1, None)
    finish = {"type": "length"}
    event["meta_info"] = {**META, "finish_reason": finish}
    chunk = wire.read_chunk(event)
    assert chunk is not None
    assert chunk.finish == finish


def test_counts_that_are_missing_or_impossible() -> None:
    for meta in ({}, {"completion_tokens": -1, "cached_tokens": None}, {"completion_tokens": "2"}):
        assert wire.read_chunk({"output_ids": [4], "meta_info": meta}) == wire.Chunk(
            [4], None, 0, None
        )


def test_what_is_no_event_of_sglang() -> None:
    assert wire.read_chunk({}) is None
    assert wire.read_chunk({"text": "A"}) is None


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"output_ids": []}, "not a JSON object"),
        ({"meta_info": META}, "output_ids is not a list"),
        ({"meta_info": META, "output_ids": "4"}, "output_ids is not a list"),
        ({"meta_info": {**META, "finish_reason": "stop"}, "output_ids": []}, "not a JSON object"),
    ],
)
def test_a_malformed_event(event: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wire.read_chunk(event)
