"""The pipeline: a map over trajectories, each on its own, and the choice among them behind it.

    trajectory ─▶ graded ─▶ annotated ─▶ leaks mended ─▶ packed ─┐   (many at a time, in any order)
                     └───────── dropped, with a reason ───────────┴─▶ spool
    spool, in the order of the input ─▶ selected ─▶ train.jsonl, validation.jsonl, dropped.jsonl

The map's outcomes go to a spool on disk in the order in which they are ready, so that a slow one holds
nothing back and memory stays flat. What was paid for is kept by the endpoint's cache, and nowhere else:
a run that was killed is started again, and comes to the same files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import anyio

from curate.candidate import Candidate
from curate.drops import Dropped, Reason
from curate.grade.graders import Grader
from curate.pack.leak_free import Packing, pack_leak_free
from curate.pack.stages import Packed
from curate.read.sources import Unread
from curate.read.traces import Run
from curate.trajectory import Annotated, Trajectory

Step = Literal["read", "grade", "annotate", "pack", "select"]


class Annotator(Protocol):
    """Finds the components of a trajectory."""

    async def annotate(self, given: Trajectory) -> Annotated:
        """Raises Dropped where none can be found that hold to the rules."""
        ...


@dataclass(frozen=True, slots=True)
class DroppedRecord:
    """A line of `dropped.jsonl`: what was left out, at which step, and why."""

    source: str
    question: str
    step: Step
    reason: Reason
    detail: str

    @classmethod
    def of(cls, given: Trajectory, step: Step, why: Dropped) -> DroppedRecord:
        """The record of a trajectory that was dropped."""
        return cls(given.source, given.question, step, why.reason, why.detail)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the `position`-th trajectory: one of the two is None."""

    position: int
    candidate: Candidate | None
    dropped: DroppedRecord | None


@dataclass(frozen=True, slots=True)
class Work:
    """What is done to each trajectory. Without `packing` it has no stages yet.

    Runs of the runtime need no annotator.
    """

    annotator: Annotator | None
    grader: Grader
    packing: Packing | None

    async def outcome(self, position: int, item: Trajectory | Run | Unread) -> Outcome:
        """What becomes of one. Raises what ends the run, and nothing for what is wrong with it."""
        if isinstance(item, Unread):
            lost = DroppedRecord(item.source, "", "read", item.reason, item.detail)
            return Outcome(position, None, lost)
        given = item.trajectory if isinstance(item, Run) else item
        step: Step = "grade"
        try:
            if not await self.grader.grade(given):
                raise Dropped(Reason.WRONG, f"not {given.answer[:200]}")
            if isinstance(item, Run):
                return Outcome(position, Candidate(run=item), None)
            assert self.annotator is not None
            step = "annotate"
            annotated = await self.annotator.annotate(given)
            step = "pack"
            how = self.packing
            divided = await pack_leak_free(annotated, how) if how else Packed(annotated, ())
            return Outcome(position, Candidate(divided), None)
        except Dropped as why:
            return Outcome(position, None, DroppedRecord.of(given, step, why))


async def outcomes(
    items: Iterable[Trajectory | Run | Unread],
    work: Work,
    workers: int,
    report: Callable[[Outcome], None],
) -> None:
    """Does the work on all items, `workers` of them at a time; reports each outcome as it is ready."""
    numbered = enumerate(items)

    async def worker() -> None:
        for position, item in numbered:
            report(await work.outcome(position, item))
            # An outcome that waited for nothing (all of it kept) must not keep the others waiting.
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        for _ in range(workers):
            group.start_soon(worker)
