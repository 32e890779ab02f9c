"""Faults as values: which of them end an answer, after how many tokens."""

from __future__ import annotations

import pytest

from sprint_agent.testing import ALL, Crash, Drip, Fault, Garbage, Reset, Stall, Status, Unfinished
from sprint_agent.testing.fault_server.faults import before_head, cut_after


@pytest.mark.parametrize(
    ("fault", "tokens", "before"),
    [
        (None, None, False),
        (Status(500), None, False),
        (Drip(), None, False),
        (Reset(), 0, True),
        (Crash(), 0, True),
        (Stall(2), 2, False),
        (Garbage(after=3), 3, False),
        (Unfinished(), ALL, False),
        (Unfinished(1), 1, False),
        (Unfinished(finish=True), None, False),
    ],
)
def test_where_a_fault_ends_an_answer(
    fault: Fault | None, tokens: int | None, before: bool
) -> None:
    assert (cut_after(fault), before_head(fault)) == (tokens, before)


def test_a_fault_happens_once_on_any_path_by_default() -> None:
    assert (Reset().times, Reset().path) == (1, None)
    assert Reset(3) == Reset(3) != Reset(4)
