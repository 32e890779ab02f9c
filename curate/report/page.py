"""Renders the page: fills the template with the charts and examples, and formats numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from curate.llm.cost import CostReport
from curate.report.examples import ExampleView
from curate.report.histogram import Bins, Histogram, bins, chart
from curate.report.summary import KeptSummary, StepLosses, mean, middle

_COMPACT = 10_000_000


def render(
    kept: KeptSummary,
    lost: Sequence[StepLosses],
    cost: CostReport | None,
    examples: Sequence[ExampleView],
) -> str:
    """Returns the HTML of the page."""
    # Every value is escaped, so only the text of the template itself is markup.
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


def charts(kept: KeptSummary) -> tuple[Histogram, ...]:
    """Returns the histograms. Those that a reader compares have the same bins."""
    ratios = bins([*kept.executions_ratios, *kept.steps_ratios], whole=False)
    lengths = bins([*kept.tokens, *kept.sequential_tokens], whole=True)
    stages, prompts = bins(kept.stages, whole=True), bins(kept.prompts, whole=True)
    several = f"{percent(kept.parallel_stages)} of the stages have more than one"
    return (
        _of("Executions per stage", "executions / stages", kept.executions_ratios, ratios),
        _of("Steps per stage", "steps / stages", kept.steps_ratios, ratios),
        _of("Stages per trajectory", "stages", kept.stages, stages),
        chart("Prompts per stage", several, "prompts", "stages", kept.prompts, prompts),
        _of("Total length", "tokens", kept.tokens, lengths),
        _of("Length of the critical path", "tokens", kept.sequential_tokens, lengths),
    )


def whole(number: float | None) -> str:
    """Formats a number without decimals, such as 12,345. None becomes –."""
    return "–" if number is None else f"{number:,.0f}"


def compact(number: int) -> str:
    """Formats an integer briefly, even if it is large: 12,345, 12.3 M or 12.3 G."""
    if number < _COMPACT:
        return f"{number:,}"
    return f"{number / 1e6:,.1f} M" if number < 1e10 else f"{number / 1e9:,.1f} G"


def decimal(number: float | None) -> str:
    """Formats a number with two decimals. None becomes –."""
    return "–" if number is None else f"{number:,.2f}"


def percent(part: float | None) -> str:
    """Formats a share of 1 in percent. It is never rounded to 0 % or 100 %. None becomes –."""
    if part is None:
        return "–"
    shown = f"{part * 100:.1f}"
    if shown == "0.0" and part > 0:
        return "< 0.1 %"
    if shown == "100.0" and part < 1:
        return "> 99.9 %"
    return f"{part:.0%}".replace("%", " %") if part in (0, 1) else f"{shown} %"


def dollars(amount: float) -> str:
    """Formats an amount of money in cents, or more precisely if it is less than a dollar."""
    return f"${amount:,.2f}" if amount >= 1 or amount == 0 else f"${amount:.4f}"


def _of(title: str, axis: str, values: Iterable[float], into: Bins) -> Histogram:
    sample = list(values)
    text = whole if into.whole and into.step > 1 else decimal
    note = f"mean {text(mean(sample))}, median {text(middle(sample))}"
    return chart(title, note, axis, "trajectories", Counter(sample), into)
