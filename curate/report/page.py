"""The page: charts and views put into the template, and how numbers are written on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from curate.llm.cost import CostReport
from curate.report.examples import View
from curate.report.figures import Kept, Losses, mean, middle
from curate.report.histogram import Bins, Histogram, bins, chart

_COMPACT = 10_000_000


def render(
    kept: Kept, lost: Sequence[Losses], cost: CostReport | None, examples: Sequence[View]
) -> str:
    """The page's HTML."""
    # Everything that is filled in is escaped, and nothing but the template's own text is markup.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "whole": whole,
        "compact": compact,
        "decimal": decimal,
        "percent": percent,
        "dollars": dollars,
    }
    dropped = sum(losses.count for losses in lost)
    return environment.get_template("report.html.j2").render(
        kept=kept,
        lost=lost,
        dropped=dropped,
        read=kept.count + dropped,
        most=max((count for losses in lost for _, count in losses.reasons), default=1),
        cost=cost,
        charts=charts(kept),
        examples=examples,
    )


def charts(kept: Kept) -> tuple[Histogram, ...]:
    """The histograms. Those that are to be compared have the same bins."""
    ratios = bins([*kept.executions_ratios, *kept.steps_ratios], whole=False)
    lengths = bins([*kept.tokens, *kept.sequential_tokens], whole=True)
    stages, prompts = bins(kept.stages, whole=True), bins(kept.prompts, whole=True)
    several = f"{percent(kept.parallel_stages)} have more than one"
    return (
        _of("Executions by stages", "executions / stages", kept.executions_ratios, ratios),
        _of("Steps by stages", "steps / stages", kept.steps_ratios, ratios),
        _of("Stages", "stages of a trajectory", kept.stages, stages),
        chart("Prompts of a stage", several, "prompts", "stages", kept.prompts, prompts),
        _of("Length in all", "tokens", kept.tokens, lengths),
        _of("Length of the critical path", "tokens", kept.sequential_tokens, lengths),
    )


def whole(number: float | None) -> str:
    """A whole number, such as 12,345; – for None."""
    return "–" if number is None else f"{number:,.0f}"


def compact(number: int) -> str:
    """A whole number that is short however large it is: 12,345, 12.3 M, 12.3 G."""
    if number < _COMPACT:
        return f"{number:,}"
    return f"{number / 1e6:,.1f} M" if number < 1e10 else f"{number / 1e9:,.1f} G"


def decimal(number: float | None) -> str:
    """A number to two places; – for None."""
    return "–" if number is None else f"{number:,.2f}"


def percent(part: float | None) -> str:
    """A share of 1 in percent, never rounded to all or nothing; – for None."""
    if part is None:
        return "–"
    shown = f"{part * 100:.1f}"
    if shown == "0.0" and part > 0:
        return "< 0.1 %"
    if shown == "100.0" and part < 1:
        return "> 99.9 %"
    return f"{part:.0%}".replace("%", " %") if part in (0, 1) else f"{shown} %"


def dollars(amount: float) -> str:
    """An amount of money: to the cent, and further where it is less than a dollar."""
    return f"${amount:,.2f}" if amount >= 1 or amount == 0 else f"${amount:.4f}"


def _of(title: str, axis: str, values: Iterable[float], into: Bins) -> Histogram:
    held = list(values)
    write = whole if into.whole and into.step > 1 else decimal
    note = f"mean {write(mean(held))}, median {write(middle(held))}"
    return chart(title, note, axis, "trajectories", Counter(held), into)
