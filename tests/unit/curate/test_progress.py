"""The terminal display: what was kept, dropped and spent, in words."""

from __future__ import annotations

from curate.candidate import Candidate
from curate.drops import DroppedRecord, Reason
from curate.llm.cost import Spending
from curate.pipeline import Outcome
from curate.progress import ProgressDisplay


def dropped(reason: Reason) -> Outcome:
    return Outcome(0, None, DroppedRecord("a:1", "What?", "annotate", reason, "detail"))


def test_frequent_reasons_are_shown_and_the_others_added_up() -> None:
    display = ProgressDisplay(None, None)
    display.add(Outcome(0, Candidate(), None))
    reasons = (Reason.WRONG, Reason.BUSY, Reason.FAILED, Reason.CYCLE, Reason.LEAK, Reason.EMPTY)
    for count, reason in enumerate(reversed(reasons), 1):
        for _ in range(count):
            display.add(dropped(reason))
    assert display.lines() == [
        "kept 1, dropped 21: wrong answer 6, endpoint was too busy 5, endpoint failed 4, "
        "dependency on a later step 3, others 3"
    ]
    assert display.retryable == 9


def test_the_cost_is_shown_if_there_is_one() -> None:
    spending = Spending(requests=1200, cached=3, prompt_tokens=5000, completion_tokens=70)
    assert ProgressDisplay(None, lambda: spending).lines() == [
        "kept 0, dropped 0",
        "1,200 requests, 3 cached answers, 5,000 + 70 tokens",
    ]
    spending = Spending(requests=2, retries=1, cost=0.25, lost=0.5, paid=1.0)
    line = ProgressDisplay(None, lambda: spending).lines()[1]
    assert line == "2 requests, 1 retries, 0 cached answers, 0 + 0 tokens, cost 0.75 (+ 1.00)"
