"""Reads the usage that a server reports. Pure: no I/O, no await.

A server's counts are a claim. They are read leniently, and what an engine has seen itself corrects them
(`TokenUsage.plausible`), so that no limit depends on a server's word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from sprint_agent.engine import TokenUsage

_MOST_TOKENS = 2**31
"""No call uses as many tokens. A larger number is not a count."""


def read_usage(usage: object) -> TokenUsage | None:
    """Returns the usage in an event or a body. None if there is none or it cannot be read.

    Some servers do not count the tokens of thoughts as part of the completion (xAI, Gemini). They are
    added, because they are paid and fill the context.
    """
    if not isinstance(usage, dict):
        return None
    counts = cast("dict[str, object]", usage)
    prompt, completion = (
        read_count(counts, "prompt_tokens"),
        read_count(counts, "completion_tokens"),
    )
    if prompt is None or completion is None:
        return None
    # The total shows best whether thoughts are counted. Without it, there are more thoughts than tokens.
    thoughts = read_count(_object(counts, "completion_tokens_details"), "reasoning_tokens") or 0
    total = read_count(counts, "total_tokens") or 0
    if total > prompt + completion:
        completion = total - prompt
    elif thoughts > completion:
        completion += thoughts
    cached = read_count(counts, "cached_tokens")
    if cached is None:
        cached = read_count(_object(counts, "prompt_tokens_details"), "cached_tokens")
    return TokenUsage(prompt, completion, cached or 0).plausible()


def _object(parent: dict[str, object], name: str) -> dict[str, object]:
    value = parent.get(name)
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def read_count(counts: Mapping[str, object], name: str) -> int | None:
    """Returns a count. Some gateways write it as 12.0. None if it is not a possible one."""
    count = counts.get(name)
    if isinstance(count, float) and count.is_integer():
        count = int(count)
    if not isinstance(count, int) or isinstance(count, bool):
        return None
    return count if 0 <= count < _MOST_TOKENS else None
