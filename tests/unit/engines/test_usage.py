"""The usage that servers report."""

from __future__ import annotations

from typing import Any

import pytest

from sprint_agent.engine import TokenUsage
from sprint_agent.engines.usage import read_usage

COUNTS = {"prompt_tokens": 3, "completion_tokens": 2}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (COUNTS, TokenUsage(3, 2, 0)),
        ({**COUNTS, "prompt_tokens_details": {"cached_tokens": 1}}, TokenUsage(3, 2, 1)),
        ({**COUNTS, "prompt_tokens_details": {"cached_tokens": None}}, TokenUsage(3, 2, 0)),
        ({**COUNTS, "prompt_tokens_details": {"cached_tokens": 9}}, TokenUsage(3, 2, 3)),
        ({**COUNTS, "prompt_tokens_details": {"cached_tokens": -9}}, TokenUsage(3, 2, 0)),
        ({**COUNTS, "cached_tokens": 2}, TokenUsage(3, 2, 2)),
        ({"prompt_tokens": 3.0, "completion_tokens": 2.0}, TokenUsage(3, 2, 0)),
        ({**COUNTS, "total_tokens": 5}, TokenUsage(3, 2, 0)),
        ({**COUNTS, "total_tokens": 0}, TokenUsage(3, 2, 0)),
        ({"prompt_tokens": 3}, None),
        ({**COUNTS, "prompt_tokens": -1}, None),
        ({**COUNTS, "completion_tokens": -1}, None),
        ({**COUNTS, "completion_tokens": True}, None),
        ({**COUNTS, "completion_tokens": 2.5}, None),
        ({**COUNTS, "completion_tokens": float("nan")}, None),
        ({**COUNTS, "completion_tokens": 10**30}, None),
        (None, None),
        ([], None),
    ],
)
def test_the_usage(usage: Any, expected: TokenUsage | None) -> None:
    assert read_usage(usage) == expected


@pytest.mark.parametrize(
    ("more", "completion"),
    [
        ({"total_tokens": 105}, 102),
        ({"completion_tokens_details": {"reasoning_tokens": 100}}, 102),
        ({"completion_tokens_details": {"reasoning_tokens": 100}, "total_tokens": 105}, 102),
        ({"completion_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 5}, 2),
    ],
)
def test_thoughts_that_are_not_counted_as_completion_are_added(
    more: dict[str, object], completion: int
) -> None:
    assert read_usage(COUNTS | more) == TokenUsage(3, completion, 0)
