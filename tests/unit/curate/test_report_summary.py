"""The numbers of the report, and how the page writes them."""

from __future__ import annotations

import pytest

from curate import select
from curate.candidate import Candidate
from curate.drops import Reason
from curate.report import page, summary
from tests import curated
from tests.curated import HAND_WRITTEN
from tests.unit.curate.report_kit import count


def summarized(*candidates: Candidate) -> summary.KeptSummary:
    kept = summary.KeptSummary()
    for candidate in candidates:
        kept.add(candidate, select.measure(candidate.transcript, count))
    return kept


def test_the_numbers_of_examples_written_by_hand() -> None:
    kept = summarized(*HAND_WRITTEN)
    found = [select.measure(c.transcript, count) for c in HAND_WRITTEN]
    assert (kept.count, kept.divided, kept.unsplit) == (5, 4, 1)
    assert (kept.leaks, kept.mended) == (1, 1)
    assert sum(kept.tokens) == sum(f.tokens for f in found)
    # There are 3, 3, 4 and 2 stages, with 3+2+0, 2+3+0, 3+2+2+0 and 3+1 prompts.
    assert kept.mean_stages == 3
    assert kept.mean_prompts == pytest.approx(21 / 12)
    assert kept.parallel_stages == pytest.approx(8 / 12)
    assert kept.mean_ratio == pytest.approx((5 / 3 + 5 / 3 + 7 / 4 + 4 / 2) / 4)
    assert kept.mean_steps_ratio == pytest.approx((7 / 3 + 7 / 3 + 11 / 4 + 4 / 2) / 4)
    divided = [f for c, f in zip(HAND_WRITTEN, found, strict=True) if not c.unsplit]
    share = sum(f.sequential_tokens for f in divided) / sum(f.tokens for f in divided)
    assert kept.critical_share == pytest.approx(share)


def test_losses_are_in_the_order_of_the_steps() -> None:
    records = curated.dropped(
        [("select", Reason.RATIO, 4), ("grade", Reason.UNGRADED, 1), ("grade", Reason.WRONG, 2)]
    )
    found = summary.losses(summary.count_dropped(records), 3)
    assert [(losses.step, losses.count, losses.left) for losses in found] == [
        ("grade", 3, 7),
        ("select", 4, 3),
    ]
    assert found[0].reasons == (("wrong answer", 2), ("answer could not be checked", 1))


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        (None, "–"),
        (0, "0 %"),
        (1, "100 %"),
        (0.57, "57.0 %"),
        (1e-6, "< 0.1 %"),
        (1 - 1e-6, "> 99.9 %"),
    ],
)
def test_shares_are_not_rounded_to_0_or_100_percent(part: float | None, shown: str) -> None:
    assert page.percent(part) == shown


def test_large_numbers_are_shortened() -> None:
    assert page.compact(9_999_999) == "9,999,999"
    assert page.compact(12_345_678) == "12.3 M"
    assert page.compact(123_456_789_012) == "123.5 G"
