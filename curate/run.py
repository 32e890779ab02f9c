"""A session: the map over all trajectories, with whoever annotates them, and the files at its end."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from curate import countdown
from curate.annotate.annotator import LlmAnnotator
from curate.files import jsonl
from curate.files.jsonl import Writer
from curate.grade import graders
from curate.llm.cache import Cache
from curate.llm.client import Client
from curate.llm.cost import CostReport, Ledger, Spending
from curate.llm.recorded import RecordedEndpoint
from curate.options import Asking, Dividing
from curate.pack.leak_free import Packing
from curate.pipeline import Annotator, Outcome, Work, outcomes
from curate.read.sources import Unread
from curate.read.traces import Run
from curate.spool import Spool
from curate.trajectory import Annotated, Trajectory

_AT_ONCE = 2
"""Trajectories under way for each request that may be: while one is packed, another is asked about."""


class Symbolic:
    """The annotator of the searcher's trajectories on Countdown, who wrote them."""

    async def annotate(self, given: Trajectory) -> Annotated:
        """Raises Dropped for any other trajectory."""
        return countdown.annotate(given)


@dataclass(frozen=True, slots=True)
class Session:
    """Who annotates, and how many trajectories at a time.

    `annotator` is None where nobody need be asked: the runtime's own runs are divided already. `spent`
    is what the session has asked so far, `cost` that of all answers that are kept; None where no model
    is asked.
    """

    annotator: Annotator | None
    at_once: int
    spent: Callable[[], Spending] | None = None
    cost: Callable[[], CostReport] | None = None


@asynccontextmanager
async def session(asking: Asking | None, out: Path) -> AsyncGenerator[Session]:
    """Whoever annotates, ready to; without `asking`, nobody.

    Raises EndpointDown, ValueError for options that do not fit, OSError for a file that is missing.
    """
    if asking is None:
        yield Session(None, _AT_ONCE)
        return
    match asking.annotator:
        case "symbolic":
            yield Session(Symbolic(), 1)
        case "recorded":
            if asking.annotations is None:
                raise ValueError("--annotator recorded needs --annotations")
            yield Session(LlmAnnotator(RecordedEndpoint(asking.annotations)), _AT_ONCE)
        case "llm":
            key = os.environ.get("OPENAI_API_KEY", "")
            if not key:
                raise ValueError("set OPENAI_API_KEY; any word will do for a server without keys")
            with Cache(asking.cache or out / "cache.sqlite") as cache:
                prices = asking.price_list
                before = cache.paid(prices) + cache.lost(prices)
                ledger = Ledger(prices, asking.max_cost, before)
                async with Client(
                    asking.base_url,
                    key,
                    asking.models,
                    cache=cache,
                    ledger=ledger,
                    concurrency=asking.concurrency,
                    timeout=asking.timeout,
                    max_tokens=asking.max_tokens,
                ) as client:
                    yield Session(
                        LlmAnnotator(client),
                        asking.concurrency * _AT_ONCE,
                        lambda: ledger.spending,
                        lambda: CostReport(cache.answers(), cache.paid(prices) if prices else None),
                    )


async def curate(
    items: Iterable[Trajectory | Run | Unread],
    asking: Asking | None,
    grade: graders.Name,
    dividing: Dividing | None,
    kept: Writer,
    dropped: Writer,
    watch: Callable[[Session], Callable[[Outcome], None]],
) -> None:
    """Writes what becomes of the items, in their order: candidates to `kept`, the others to `dropped`.

    Without `asking`, all of them must be runs. Without `dividing` they are annotated only. `watch` is
    told who annotates, and then each outcome as it is ready. What models have cost goes to `cost.json`,
    beside the candidates.
    """
    folder = kept.path.parent
    async with session(asking, folder) as who, graders.grader(grade) as grader:
        work = Work(who.annotator, grader, dividing and packing(dividing, who.annotator))
        seen = watch(who)
        with Spool(folder) as spool:

            def keep(outcome: Outcome) -> None:
                spool.write(outcome)
                seen(outcome)

            await outcomes(items, work, who.at_once, keep)
            for outcome in spool.read():
                if outcome.dropped is None:
                    kept.write(outcome.candidate)
                else:
                    dropped.write(outcome.dropped)
        bill = folder / "cost.json"
        if who.cost is None:
            # What is there is the bill of other candidates.
            bill.unlink(missing_ok=True)
        else:
            jsonl.write([who.cost()], bill)


def packing(dividing: Dividing, annotator: Annotator | None) -> Packing:
    """How trajectories are divided. Raises ValueError where there is no model to ask for leaks."""
    asks = annotator if isinstance(annotator, LlmAnnotator) else None
    if dividing.ask_leaks and asks is None:
        raise ValueError("--ask-leaks needs a model, which only `run --annotator llm` asks")
    return Packing(
        dividing.shortest_execution, dividing.on_leak, asks if dividing.ask_leaks else None
    )
