"""The steps of a curation in order: map, select, render. `report.write` is the last one.

The map needs an annotator, which `annotator_session` opens. The later steps read and write files.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from curate import countdown
from curate.annotate.annotator import LlmAnnotator
from curate.candidate import Candidate
from curate.drops import Dropped, DroppedRecord, Reason, SkippedRecord
from curate.files import jsonl
from curate.files.jsonl import Writer
from curate.grade import graders
from curate.llm.cache import Cache
from curate.llm.client import Client
from curate.llm.cost import CostReport, Ledger, Spending
from curate.llm.recorded import RecordedEndpoint
from curate.options import AnnotatorOptions, PackingOptions
from curate.pack.leak_free import Packing
from curate.pipeline import Annotator, Outcome, Pipeline, ReorderBuffer, process
from curate.read.traces import TracedRun
from curate.select import (
    Count,
    Rank,
    RunMetrics,
    Selection,
    best,
    check,
    check_length,
    held_out,
    in_share,
    measure,
    rank,
)
from curate.trajectory import Annotated, Trajectory

_WORKERS_PER_REQUEST = 2
"""Trajectories in progress for each concurrent request: one is packed while another is annotated."""


class SymbolicAnnotator:
    """The annotator of the Countdown searcher's trajectories, which needs no model."""

    async def annotate(self, given: Trajectory) -> Annotated:
        """Returns the trajectory with its components.

        Raises:
            Dropped: the searcher did not write the trajectory.
        """
        return countdown.annotate(given)


@dataclass(frozen=True, slots=True)
class AnnotatorSession:
    """An annotator that is ready to work, and what it costs."""

    annotator: Annotator | None
    """None if nothing needs annotation: the runtime's own runs are divided already."""
    workers: int
    """How many trajectories to process at a time."""
    spent: Callable[[], Spending] | None = None
    """Returns what this session has asked so far. None if no model is asked."""
    cost: Callable[[], CostReport] | None = None
    """Returns the cost of all answers in the cache. None if no model is asked."""


@asynccontextmanager
async def annotator_session(
    options: AnnotatorOptions | None, out: Path
) -> AsyncGenerator[AnnotatorSession]:
    """Opens the annotator that the options name. Without options there is none.

    Raises:
        EndpointDown: no query can be answered.
        ValueError: options are missing or contradict each other.
        OSError: a file is missing.
    """
    if options is None:
        yield AnnotatorSession(None, _WORKERS_PER_REQUEST)
        return
    match options.annotator:
        case "symbolic":
            yield AnnotatorSession(SymbolicAnnotator(), 1)
        case "recorded":
            if options.annotations is None:
                raise ValueError("--annotator recorded needs --annotations FILE")
            recorded = LlmAnnotator(RecordedEndpoint(options.annotations))
            yield AnnotatorSession(recorded, _WORKERS_PER_REQUEST)
        case "llm":
            key = os.environ.get("OPENAI_API_KEY", "")
            if not key:
                raise ValueError("set OPENAI_API_KEY; a server without keys accepts any value")
            with Cache(options.cache or out / "cache.sqlite") as cache:
                prices = options.price_list
                before = cache.paid(prices) + cache.lost(prices)
                ledger = Ledger(prices, options.max_cost, before)
                async with Client(
                    options.base_url,
                    key,
                    options.models,
                    cache=cache,
                    ledger=ledger,
                    concurrency=options.concurrency,
                    timeout=options.timeout,
                    max_tokens=options.max_tokens,
                ) as client:
                    yield AnnotatorSession(
                        LlmAnnotator(client),
                        options.concurrency * _WORKERS_PER_REQUEST,
                        lambda: ledger.spending,
                        lambda: CostReport(cache.answers(), cache.paid(prices) if prices else None),
                    )


async def map_trajectories(
    items: Iterable[Trajectory | TracedRun | SkippedRecord],
    annotation: AnnotatorOptions | None,
    grade: graders.GraderName,
    packing: PackingOptions | None,
    kept: Writer,
    dropped: Writer,
    watch: Callable[[AnnotatorSession], Callable[[Outcome], None]],
) -> None:
    """Grades, annotates and packs the items.

    Candidates are written to `kept` and all others to `dropped`, in the order of the items. What
    models have cost is written to `cost.json`, in the folder of the candidates.

    Args:
        annotation: None if all items are runs of the runtime.
        packing: None to annotate only.
        watch: called once with the session. The function that it returns is called with each
            outcome as soon as that is ready.
    """
    folder = kept.path.parent
    async with annotator_session(annotation, folder) as session, graders.grader(grade) as grader:
        pipeline = Pipeline(
            session.annotator, grader, packing and packing_rules(packing, session.annotator)
        )
        on_outcome = watch(session)
        with ReorderBuffer(folder) as buffer:

            def keep(outcome: Outcome) -> None:
                buffer.write(outcome)
                on_outcome(outcome)

            await process(items, pipeline, session.workers, keep)
            for outcome in buffer.read():
                if outcome.dropped is None:
                    kept.write(outcome.candidate)
                else:
                    dropped.write(outcome.dropped)
        cost = folder / "cost.json"
        if session.cost is None:
            # An earlier run may have left the cost of other candidates there.
            cost.unlink(missing_ok=True)
        else:
            jsonl.write([session.cost()], cost)


def packing_rules(options: PackingOptions, annotator: Annotator | None) -> Packing:
    """Returns how trajectories are divided.

    Raises:
        ValueError: the options ask a model for leaks, but there is no model.
    """
    model = annotator if isinstance(annotator, LlmAnnotator) else None
    if options.ask_leaks and model is None:
        raise ValueError("--ask-leaks needs a model: use it with `run --annotator llm`")
    return Packing(
        options.shortest_execution, options.on_leak, model if options.ask_leaks else None
    )


def select(
    candidates: Path, wanted: Selection, count: Count, selected: Writer, dropped: Writer
) -> None:
    """Writes the best candidate on each question to `selected`, and the others to `dropped`.

    The file is read twice, so that memory contains only a question key and a rank for each candidate.
    """
    verdicts = [_verdict(c, wanted, count) for c in jsonl.read(candidates, Candidate)]
    ranked = ((at, v[0], v[1]) for at, v in enumerate(verdicts) if not isinstance(v, Dropped))
    chosen = best(ranked)
    for at, candidate in enumerate(jsonl.read(candidates, Candidate)):
        verdict = verdicts[at]
        if isinstance(verdict, Dropped):
            dropped.write(DroppedRecord.of(candidate.trajectory, "select", verdict))
        elif chosen[verdict[0]] != at:
            why = Dropped(Reason.DUPLICATE, "only the most parallel one is kept")
            dropped.write(DroppedRecord.of(candidate.trajectory, "select", why))
        else:
            unsplit = verdict[1][0] == 1
            selected.write(Candidate(candidate.packed, candidate.run, unsplit))


def render(
    selected: Path,
    train: Writer,
    validation: Writer,
    share: float,
    *,
    sequential: bool = False,
    is_shard: bool = False,
) -> None:
    """Writes the samples of the selected candidates.

    The file is read twice, so that memory contains only the key of each question.

    Args:
        share: the share of the questions that are for validation. Of two or more questions, at least
            one is.
        sequential: write the samples of the sequential baseline: the same trajectories, as they
            were written.
        is_shard: the candidates are one of several shards, whose files will be joined.
    """
    keys = {candidate.trajectory.question_key for candidate in jsonl.read(selected, Candidate)}
    for_validation = held_out(keys, share, is_shard=is_shard)
    for candidate in jsonl.read(selected, Candidate):
        sample = candidate.sequential_sample if sequential else candidate.sample
        held = candidate.trajectory.question_key in for_validation
        (validation if held else train).write(sample)


def _verdict(candidate: Candidate, wanted: Selection, count: Count) -> tuple[str, Rank] | Dropped:
    """Returns a candidate's question key and rank, or why it is dropped whatever the others are."""
    given = candidate.trajectory
    metrics = measure(candidate.transcript, count)
    try:
        check(metrics, wanted)
    except Dropped as why:
        # A recorded run is divided already, so it cannot be rendered as one plan.
        can_be_unsplit = candidate.packed is not None and why.reason is Reason.RATIO
        # The word "whole" is a part of the hash: another word would keep other trajectories.
        if not can_be_unsplit or not in_share(given.question_key, wanted.keep_sequential, "whole"):
            return why
        return _unsplit_verdict(candidate, metrics, wanted, count)
    return given.question_key, rank(metrics, wanted, True, given.key)


def _unsplit_verdict(
    candidate: Candidate, metrics: RunMetrics, wanted: Selection, count: Count
) -> tuple[str, Rank] | Dropped:
    """Returns the same for a candidate that is kept unsplit.

    Its length is that of the unsplit text, not that of the stages into which it was divided.
    """
    given = candidate.trajectory
    try:
        check_length(measure(replace(candidate, unsplit=True).transcript, count), wanted)
    except Dropped as why:
        return why
    return given.question_key, rank(metrics, wanted, False, given.key)
