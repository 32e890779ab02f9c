"""Lays out histograms: bins with round edges, and the positions of bars, lines and labels in an SVG."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from curate.report import wrap

WIDTH = 420
HEIGHT = 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 20, 20, 42
_MOST_BINS = 16
_MOST_LABELS = 8
_FONT = 11.5


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of equal width. The n-th bin, counted from 0, begins at first + n * step."""

    first: float
    step: float
    count: int
    whole: bool
    """Whether all values are integers. Each bin of step 1 then contains one integer."""

    @property
    def single(self) -> bool:
        """Whether each bin contains a single integer."""
        return self.whole and self.step == 1

    def of(self, value: float) -> int:
        """Returns the bin that contains a value."""
        # Floating point must not put a ratio such as 1.5 below the edge 1.5 of bins of width 0.1.
        return min(max(math.floor((value - self.first) / self.step + 1e-9), 0), self.count - 1)

    def name(self, bin_: int) -> str:
        """Returns the values of a bin as a label, such as "4", "10–19" or "1.5–1.6"."""
        low = self.first + bin_ * self.step
        if self.single:
            return f"{low:,.0f}"
        if self.whole:
            return f"{low:,.0f}–{low + self.step - 1:,.0f}"
        return f"{self.edge(bin_)}–{self.edge(bin_ + 1)}"

    def edge(self, bin_: int) -> str:
        """Returns the least value of a bin as a label."""
        places = next(n for n in range(12) if round(self.step, n) == self.step)
        return f"{self.first + bin_ * self.step:,.{places}f}"


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of the chart."""

    x: float
    y: float
    width: float
    height: float
    name: str
    """The values of its bin."""
    count: int
    label: str
    """The count, shown above the bar. Empty if it is not shown."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A label of an axis, and its position along that axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """A chart, as the template renders it."""

    title: str
    note: str
    axis: str
    """The name of the horizontal axis."""
    unit: str
    """What is counted."""
    bars: tuple[Bar, ...]
    """The bars of all bins, including empty ones."""
    across: tuple[Tick, ...]
    """The labels of the horizontal axis."""
    up: tuple[Tick, ...]
    """The labels of the vertical axis, upwards from 0."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    base: int = HEIGHT - _BOTTOM


def bins(values: Iterable[float], *, whole: bool) -> Bins:
    """Returns bins that cover `values`. Their width is 1, 2, 2.5 or 5 times a power of ten."""
    least, most = math.inf, -math.inf
    for value in values:
        least, most = min(least, value), max(most, value)
    if least > most:
        least = most = 0.0
    if whole and most < _MOST_BINS:
        first = math.floor(min(least, 1))
        return Bins(first, 1, int(most) - first + 1, whole)
    step = _round_step((most - least) / _MOST_BINS, whole)
    while (
        count := math.floor(most / step + 1e-9) - math.floor(least / step + 1e-9) + 1
    ) > _MOST_BINS:
        step = _round_step(step * 1.01, whole)
    return Bins(math.floor(least / step + 1e-9) * step, step, count, whole)


def chart(
    title: str,
    note: str,
    axis: str,
    unit: str,
    values: Mapping[float, int] | Mapping[int, int],
    into: Bins,
) -> Histogram:
    """Returns the chart of `values`, which maps each value to the number of its occurrences."""
    counts: Counter[int] = Counter()
    for value, times in values.items():
        counts[into.of(value)] += times
    most = max(counts.values(), default=0)
    step = int(_round_step(max(most, 1) / 4, True))
    top = max(math.ceil(most / step), 1) * step
    base = HEIGHT - _BOTTOM
    tall = (base - _TOP) / top
    width = (WIDTH - _LEFT - _RIGHT) / into.count
    # Either all bars have their count above them, or none has: a bar without one would seem to be
    # empty.
    labels = wrap.width(f"{most:,}") * _FONT <= width
    bars = tuple(
        _bar(n, counts[n], width, counts[n] * tall, into.name(n), labels) for n in range(into.count)
    )
    up = tuple(Tick(base - n * tall, f"{n:,}") for n in range(0, top + 1, step))
    return Histogram(title, note, axis, unit, bars, _across(into, width), up)


def _bar(n: int, count: int, width: float, height: float, name: str, label: bool) -> Bar:
    gap = min(4.0, width / 6)
    return Bar(
        x=_LEFT + n * width + gap / 2,
        y=HEIGHT - _BOTTOM - height,
        width=width - gap,
        height=height,
        name=name,
        count=count,
        label=f"{count:,}" if label and count else "",
    )


def _across(into: Bins, width: float) -> tuple[Tick, ...]:
    """Returns the labels below the bars: integers below their bars, or the edges between bars."""
    if into.single:
        every = math.ceil(into.count / _MOST_BINS)
        return tuple(
            Tick(_LEFT + (n + 0.5) * width, into.edge(n)) for n in range(0, into.count, every)
        )
    every = math.ceil((into.count + 1) / _MOST_LABELS)
    return tuple(Tick(_LEFT + n * width, into.edge(n)) for n in range(0, into.count + 1, every))


def _round_step(least: float, whole: bool) -> float:
    """Returns the least round number that is at least `least`. With `whole`, it is an integer."""
    if whole:
        least = max(least, 1.0)
    if least <= 0:
        return 0.1
    power = 10.0 ** math.floor(math.log10(least) - 1e-12)
    for times in (1, 2, 2.5, 5, 10, 20):
        step = round(times * power, 10)
        if step >= least * (1 - 1e-9) and not (whole and step % 1):
            return step
    raise AssertionError("every decade contains a round number")
