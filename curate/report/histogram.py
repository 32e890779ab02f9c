"""Histograms: round bins, and where their bars, lines and labels stand in an SVG."""

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
    """Bins of equal `step`, from `first` on; the n-th holds values from first + n * step on.

    Of whole numbers, bins of step 1 stand for the numbers themselves.
    """

    first: float
    step: float
    count: int
    whole: bool

    @property
    def single(self) -> bool:
        """Whether each bin is one whole number."""
        return self.whole and self.step == 1

    def of(self, value: float) -> int:
        """The bin that a value falls into."""
        # A ratio such as 1.5, held against steps of 0.1, must not fall below its own edge.
        return min(max(math.floor((value - self.first) / self.step + 1e-9), 0), self.count - 1)

    def name(self, bin_: int) -> str:
        """A bin's values, such as "4", "10–19" or "1.5–1.6"."""
        low = self.first + bin_ * self.step
        if self.single:
            return f"{low:,.0f}"
        if self.whole:
            return f"{low:,.0f}–{low + self.step - 1:,.0f}"
        return f"{self.edge(bin_)}–{self.edge(bin_ + 1)}"

    def edge(self, bin_: int) -> str:
        """The least value of a bin, as a label."""
        places = next(n for n in range(12) if round(self.step, n) == self.step)
        return f"{self.first + bin_ * self.step:,.{places}f}"


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of the chart, with its values, its count, and the count as a label (or "")."""

    x: float
    y: float
    width: float
    height: float
    name: str
    count: int
    label: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis, and where it stands."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """A chart. `bars` are all bins, empty ones included; `unit` says what is counted."""

    title: str
    note: str
    axis: str
    unit: str
    bars: tuple[Bar, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    base: int = HEIGHT - _BOTTOM


def bins(values: Iterable[float], *, whole: bool) -> Bins:
    """Bins for all of `values`, of a round width (1, 2, 2.5 or 5 times a power of ten)."""
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
    """The chart of values and how often each of them is there."""
    counts: Counter[int] = Counter()
    for value, times in values.items():
        counts[into.of(value)] += times
    most = max(counts.values(), default=0)
    step = int(_round_step(max(most, 1) / 4, True))
    top = max(math.ceil(most / step), 1) * step
    base = HEIGHT - _BOTTOM
    tall = (base - _TOP) / top
    width = (WIDTH - _LEFT - _RIGHT) / into.count
    # Counts stand above all bars or above none: one without would seem to be nothing.
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
    """Labels below the bars: each number below its bar, or the edges between bars."""
    if into.single:
        every = math.ceil(into.count / _MOST_BINS)
        return tuple(
            Tick(_LEFT + (n + 0.5) * width, into.edge(n)) for n in range(0, into.count, every)
        )
    every = math.ceil((into.count + 1) / _MOST_LABELS)
    return tuple(Tick(_LEFT + n * width, into.edge(n)) for n in range(0, into.count + 1, every))


def _round_step(least: float, whole: bool) -> float:
    """The least round number that is no less than `least` (and at least 1, of whole numbers)."""
    if whole:
        least = max(least, 1.0)
    if least <= 0:
        return 0.1
    power = 10.0 ** math.floor(math.log10(least) - 1e-12)
    for times in (1, 2, 2.5, 5, 10, 20):
        step = round(times * power, 10)
        if step >= least * (1 - 1e-9) and not (whole and step % 1):
            return step
    raise AssertionError("a round number lies in every decade")
