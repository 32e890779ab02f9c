"""Reads all sources of a command, whatever kind each is, and keeps what is in one shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from curate.drops import Dropped, Reason, SkippedRecord
from curate.read import layouts, sources, traces
from curate.read.layouts import Layout
from curate.read.shards import Shard, in_shard
from curate.read.sources import Dataset, SourceError
from curate.read.traces import TracedRun
from curate.trajectory import Trajectory

_DATASET = "datasets:"
"""The prefix of a source that is a dataset's name."""
_UNREADABLE = (Reason.UNREADABLE, Reason.EMPTY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How sources are read."""

    layout: Layout | None = None
    """The layout of all records. None detects it for each record."""
    traces: bool = False
    """Whether the sources are traces of the runtime. They need no layout."""
    split: str = "train"
    """Which split of a dataset is read."""
    references: Path | None = None
    """For traces: a file with the correct answers."""
    shard: Shard = Shard(1, 1)

    def items(self, names: tuple[str, ...]) -> Iterator[Trajectory | TracedRun | SkippedRecord]:
        """Yields everything in the sources that belongs to the shard.

        Raises:
            SourceError: a source cannot be read at all.
        """
        references = self._references()
        for name in names:
            for number, item in enumerate(self._source(name, references)):
                if isinstance(item, SkippedRecord):
                    # Its question is unknown. Its position makes exactly one shard report it.
                    key = f"{name}/{number}"
                else:
                    given = item.trajectory if isinstance(item, TracedRun) else item
                    key = given.question_key
                if in_shard(key, self.shard):
                    yield item

    def _source(
        self, name: str, references: Mapping[str, str]
    ) -> Iterator[Trajectory | TracedRun | SkippedRecord]:
        if self.traces:
            yield _traced_run(Path(name), references)
        elif name.startswith(_DATASET):
            dataset = Dataset(name.removeprefix(_DATASET), self.split)
            yield from _checked(name, sources.read(dataset, self.layout))
        else:
            yield from _checked(name, sources.read(Path(name), self.layout))

    def _references(self) -> dict[str, str]:
        """The correct answers, by the key of the question."""
        if self.references is None:
            return {}
        correct: dict[str, str] = {}
        fields = layouts.of_fields(question="question", trajectory="answer", answer="answer")
        for item in sources.read(self.references, fields):
            if isinstance(item, Trajectory):
                correct[item.question_key] = item.answer
        return correct


def _checked(
    name: str, items: Iterator[Trajectory | SkippedRecord]
) -> Iterator[Trajectory | SkippedRecord]:
    """Yields the items of a source.

    Raises:
        SourceError: after the last item, if no record was of any use. The source as a whole is then
            something else than trajectories.
    """
    first: SkippedRecord | None = None
    useful = count = 0
    for item in items:
        count += 1
        if isinstance(item, SkippedRecord) and item.reason in _UNREADABLE:
            first = first or item
        else:
            useful += 1
        yield item
    if first is not None and not useful:
        raise SourceError(
            f"no record of {name} can be read ({count:,} in all): {first.source}: {first.detail}; "
            "name its fields by --question and --trajectory, or leave the file out"
        )


def is_streamed(name: str) -> bool:
    """Returns whether a source is a dataset by name, whose size is unknown before it is read."""
    return name.startswith(_DATASET)


def _traced_run(path: Path, references: Mapping[str, str]) -> TracedRun | SkippedRecord:
    if not path.is_file():
        raise SourceError(f"there is no file {path}")
    try:
        return traces.read(path, references)
    except Dropped as why:
        return SkippedRecord(path.name, why.reason, why.detail)
