"""The words for why a server stopped."""

from __future__ import annotations

import logging

import pytest

from sprint_agent.engines.finish_reasons import read_finish
from sprint_agent.errors import EngineError, EngineUnavailable

URL = "http://h"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("stop eos eos_token end_turn STOP stop_sequence COMPLETE end-turn", "end"),
        ("length max_tokens MAX_TOKENS model_length max_output_tokens", "length"),
    ],
)
def test_ends(words: str, expected: str) -> None:
    for word in words.split():
        for has_text in (True, False):
            assert read_finish(URL, word, has_text=has_text) == expected


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        ("abort network_error insufficient_system_resource", EngineUnavailable, "in the middle"),
        ("content_filter SAFETY RECITATION guardrail_intervened", EngineError, "content filter"),
        ("tool_calls function_call tool_use", EngineError, "called a tool"),
    ],
)
def test_reasons_that_leave_no_answer(words: str, kind: type[EngineError], message: str) -> None:
    for word in words.split():
        with pytest.raises(EngineError, match=message) as caught:
            read_finish(URL, word, has_text=True)
        assert type(caught.value) is kind
        assert caught.value.transient is (kind is EngineUnavailable)


def test_an_unknown_reason(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert read_finish(URL, "weather", has_text=True) == "end"
    assert "'weather'" in caplog.text
    with pytest.raises(EngineError, match="finish reason 'weather'"):
        read_finish(URL, "weather", has_text=False)
