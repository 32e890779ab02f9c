"""Histograms: every value is in the bin that names it, and the bars fit into the chart."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from curate.report import histogram


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1))
def test_the_label_of_a_bin_contains_its_integers(values: list[int]) -> None:
    into = histogram.bins(values, whole=True)
    assert into.count <= 16
    for value in values:
        low, _, high = into.name(into.of(value)).replace(",", "").partition("–")
        assert int(low) <= value <= int(high or low)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fractions(0, 60, max_denominator=11), min_size=1))
def test_the_label_of_a_bin_contains_its_ratios(values: list[float]) -> None:
    held = [float(value) for value in values]
    into = histogram.bins(held, whole=False)
    assert into.count <= 16
    for value in held:
        low, _, high = into.name(into.of(value)).partition("–")
        assert float(low) - 1e-6 <= value < float(high) + 1e-6


def test_bars_count_all_values() -> None:
    values = {1: 4, 2: 20_000, 9: 1}
    chart = histogram.chart("t", "n", "a", "u", values, histogram.bins(values, whole=True))
    assert [bar.count for bar in chart.bars] == [4, 20_000, 0, 0, 0, 0, 0, 0, 1]
    assert max(bar.height for bar in chart.bars) <= chart.base
    assert all(bar.x + bar.width <= chart.right for bar in chart.bars)
