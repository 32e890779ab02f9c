"""Measures the leak check: on text whose dependencies are known, what it finds and what it flags.

*Recall*: a dependency is taken out of the annotation, such that both components would run at the same
time. It is found if the leak check separates them. *False alarms*: nothing is taken out, and whatever
the check reports is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import anyio

from benchmarks.reasoning_text import Document, Kind
from curate.pack.leak_free import Packing, pack_leak_free
from curate.pack.stages import packed_stages
from curate.trajectory import Annotated, Component

_RULES = Packing(shortest_execution=1)


@dataclass(frozen=True, slots=True)
class LeakReport:
    """What the leak check finds in documents."""

    documents: int
    flagged: int
    """Documents with a complete annotation in which the check reports a leak."""
    wrong_edges: int
    """The edges that the check adds to these, altogether."""
    removed: Mapping[Kind, int]
    """Dependencies that were taken out, one at a time, by how the text shows them."""
    found: Mapping[Kind, int]
    """Those of them that the check found."""

    @property
    def recall(self) -> float:
        """The share of the removed dependencies that the check found."""
        return sum(self.found.values()) / max(1, sum(self.removed.values()))

    @property
    def false_alarms(self) -> float:
        """The share of the documents without a leak in which the check reports one."""
        return self.flagged / max(1, self.documents)


def measure(documents: Iterable[Document]) -> LeakReport:
    """Returns what the leak check finds in the documents."""
    return anyio.run(_measure, documents)


async def _measure(documents: Iterable[Document]) -> LeakReport:
    count = flagged = wrong = 0
    removed: Counter[Kind] = Counter()
    found: Counter[Kind] = Counter()
    for document in documents:
        count += 1
        leaks = (await pack_leak_free(document.annotated, _RULES)).leaks
        flagged += bool(leaks)
        wrong += len(leaks)
        for (number, parent), kind in document.needs.items():
            without = _without(document.annotated, number, parent)
            if _is_after(packed_stages(without.components, 1), number, parent):
                continue
            removed[kind] += 1
            packed = await pack_leak_free(without, _RULES)
            found[kind] += _is_after(packed.stages, number, parent)
    return LeakReport(count, flagged, wrong, dict(removed), dict(found))


def _without(annotated: Annotated, number: int, parent: int) -> Annotated:
    """Returns the annotation without one dependency."""
    components = tuple(
        replace(c, parents=c.parents - {parent}) if c.number == number else c
        for c in annotated.components
    )
    return replace(annotated, components=components)


def _is_after(stages: Iterable[tuple[Component, ...]], number: int, parent: int) -> bool:
    at = {c.number: n for n, stage in enumerate(stages) for c in stage}
    return at[number] > at[parent]
