"""The map over trajectories: each is graded, annotated and packed independently of the others.

    trajectory ─▶ graded ─▶ annotated ─▶ leaks repaired ─▶ packed ─┐   (many at a time, in any order)
                     └────────── dropped, with a reason ───────────┴─▶ reorder buffer
    reorder buffer, in input order ─▶ selected ─▶ train.jsonl, validation.jsonl, dropped.jsonl

An outcome is written to a buffer on disk as soon as it is ready, so that a slow trajectory does not
delay the others and memory use stays constant. Only the endpoint's cache keeps what was paid for.
A run that was killed is simply started again, and writes the same files.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Protocol

import anyio
import msgspec

from curate.candidate import Candidate
from curate.drops import Dropped, DroppedRecord, Reason, SkippedRecord, Step
from curate.grade.graders import Grader
from curate.pack.leak_free import Packing, pack_leak_free
from curate.pack.stages import Packed
from curate.read.traces import TracedRun
from curate.trajectory import Annotated, Trajectory


class Annotator(Protocol):
    """Finds the components of a trajectory."""

    async def annotate(self, given: Trajectory) -> Annotated:
        """Returns the trajectory with its components.

        Raises:
            Dropped: no components were found that follow the rules.
        """
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one item: either a candidate, or why it was dropped. The other one is None."""

    position: int
    """The item's position in the input, from 0."""
    candidate: Candidate | None
    dropped: DroppedRecord | None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What is done to each item."""

    annotator: Annotator | None
    """None if all items are runs of the runtime, which are divided already."""
    grader: Grader
    packing: Packing | None
    """None to annotate only: the candidates then have no stages yet."""

    async def outcome(self, position: int, item: Trajectory | TracedRun | SkippedRecord) -> Outcome:
        """Processes one item.

        A problem with the item itself becomes a dropped record. Any other error, such as an endpoint
        that answers no query, is raised and ends the run.
        """
        if isinstance(item, SkippedRecord):
            return Outcome(position, None, DroppedRecord.of_skipped(item))
        given = item.trajectory if isinstance(item, TracedRun) else item
        step: Step = "grade"
        try:
            if not await self.grader.grade(given):
                raise Dropped(Reason.WRONG, f"not {given.answer[:200]}")
            if isinstance(item, TracedRun):
                return Outcome(position, Candidate(run=item), None)
            assert self.annotator is not None
            step = "annotate"
            annotated = await self.annotator.annotate(given)
            step = "pack"
            packing = self.packing
            packed = await pack_leak_free(annotated, packing) if packing else Packed(annotated, ())
            return Outcome(position, Candidate(packed), None)
        except Dropped as why:
            return Outcome(position, None, DroppedRecord.of(given, step, why))


async def process(
    items: Iterable[Trajectory | TracedRun | SkippedRecord],
    pipeline: Pipeline,
    workers: int,
    report: Callable[[Outcome], None],
) -> None:
    """Processes all items, up to `workers` at a time. Reports each outcome as soon as it is ready."""
    numbered = enumerate(items)

    async def worker() -> None:
        for position, item in numbered:
            report(await pipeline.outcome(position, item))
            # If all answers come from the cache, nothing above yields to the other tasks.
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        for _ in range(workers):
            group.start_soon(worker)


class ReorderBuffer(AbstractContextManager["ReorderBuffer"]):
    """Stores outcomes in any order, and reads them back in the order of the input.

    They are in an unnamed temporary file in `folder`, which disappears when the process ends. Memory
    contains one file offset for each outcome.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115
        self._offsets = array("q")
        self._encoder = msgspec.json.Encoder()

    def write(self, outcome: Outcome) -> None:
        """Stores an outcome."""
        missing = outcome.position + 1 - len(self._offsets)
        self._offsets.extend([-1] * missing)
        self._offsets[outcome.position] = self._file.tell()
        self._file.write(self._encoder.encode(outcome) + b"\n")

    def read(self) -> Iterator[Outcome]:
        """Yields all outcomes by position. Nothing may be written after the first one is read."""
        decoder = msgspec.json.Decoder(Outcome)
        for offset in self._offsets:
            self._file.seek(offset)
            yield decoder.decode(self._file.readline())

    def __exit__(self, *_: object) -> None:
        self._file.close()
