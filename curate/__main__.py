"""Turns reasoning trajectories into training data that teaches planning.

`run` does everything. Each step is also a command that reads one file and writes another: split,
annotate, pack, select, render, report.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, NoReturn

import anyio
import cyclopts
from rich.console import Console
from rich.live import Live

from curate import countdown as searcher
from curate import report
from curate import run as steps
from curate.candidate import Candidate
from curate.countdown import CountdownData
from curate.drops import Dropped, DroppedRecord, SkippedRecord
from curate.files import jsonl
from curate.files.jsonl import Writer
from curate.grade import graders
from curate.grade.math_pool import MathPoolError
from curate.llm.cache import CacheError
from curate.llm.endpoint import CostCeiling, EndpointDown
from curate.options import AnnotatorOptions, PackingOptions, ReadOptions, counter
from curate.pack.leak_free import pack_leak_free
from curate.pipeline import Outcome
from curate.progress import ProgressDisplay
from curate.read.reader import Reader, is_streamed
from curate.read.sources import SourceError
from curate.run import AnnotatorSession
from curate.select import Selection
from curate.split.sentences import sentences
from curate.trajectory import Annotated as AnnotatedTrajectory
from curate.trajectory import Trajectory
from sprint_agent.cli.terminal import visible

app = cyclopts.App(name="python -m curate", help=__doc__, suppress_keyboard_interrupt=False)

_ReadOptions = Annotated[ReadOptions, cyclopts.Parameter(name="*")]
_AnnotatorOptions = Annotated[AnnotatorOptions, cyclopts.Parameter(name="*")]
_PackingOptions = Annotated[PackingOptions, cyclopts.Parameter(name="*")]
_Selection = Annotated[Selection, cyclopts.Parameter(name="*")]


@dataclass(frozen=True, slots=True)
class SplitTrajectory:
    """A trajectory and its sentences."""

    trajectory: Trajectory
    sentences: tuple[str, ...]


@app.command
def run(
    *sources: str,
    out: Path,
    grade: graders.GraderName = "mathematics",
    tokenizer: Path | None = None,
    validation: float = 0.05,
    reading: _ReadOptions = ReadOptions(),
    annotation: _AnnotatorOptions = AnnotatorOptions(),
    packing: _PackingOptions = PackingOptions(),
    selection: _Selection = Selection(),
) -> None:
    """Curate trajectories: write train.jsonl, validation.jsonl, dropped.jsonl and report.html.

    After Ctrl-C, or a crash of the machine, run the same command again: it resumes, pays for no
    answer twice, and writes the same files.

    Parameters
    ----------
    sources
        JSON lines (also as .gz), Parquet files, datasets:NAME, or traces with --layout trace.
    out
        Output folder.
    grade
        How answers are compared with the reference: as mathematics, as Countdown expressions,
        exactly, by the dataset's own verdict (given), or not at all (none).
    tokenizer
        Folder of the tokenizer that counts tokens. Without it, words and punctuation marks are
        counted.
    validation
        Share of the questions that is held out for validation.
    """
    _check_sources(sources)
    reader = reading.reader()
    annotator = None if reader.traces else annotation
    count = counter(tokenizer)
    with _lock_folder(out):
        with Writer(out / "dropped.jsonl") as dropped:
            with Writer(out / "packed.jsonl") as packed:
                _map(reader, sources, annotator, grade, packing, packed, dropped)
            with Writer(out / "selected.jsonl") as selected:
                steps.select(packed.path, selection, count, selected, dropped)
        with Writer(out / "train.jsonl") as train, Writer(out / "validation.jsonl") as held_out:
            is_shard = reader.shard.count > 1
            steps.render(selected.path, train, held_out, validation, is_shard=is_shard)
        page = report.write(out, count)
    _say(f"{train.count:,} training samples, {held_out.count:,} validation samples: {page}")


@app.command
def split(*sources: str, out: Path, reading: _ReadOptions = ReadOptions()) -> None:
    """Split trajectories into sentences.

    Parameters
    ----------
    sources
        The same as for `run`.
    out
        Output file: trajectories and their sentences.
    """
    _check_sources(sources)
    reader = _text_reader(reading)
    with _lock_file(out), _dropped(out) as dropped, Writer(out) as kept:
        for item in reader.items(sources):
            if isinstance(item, Trajectory):
                kept.write(SplitTrajectory(item, sentences(item.text)))
            elif isinstance(item, SkippedRecord):
                dropped.write(DroppedRecord.of_skipped(item))
    _say(f"{kept.count:,} split: {out}; {dropped.count:,} dropped: {dropped.path}")


@app.command
def annotate(
    *sources: str,
    out: Path,
    grade: graders.GraderName = "mathematics",
    reading: _ReadOptions = ReadOptions(),
    annotation: _AnnotatorOptions = AnnotatorOptions(),
) -> None:
    """Find the components of trajectories and the dependencies between them.

    Parameters
    ----------
    sources
        The same as for `run`.
    out
        Output file: annotated trajectories.
    grade
        The same as for `run`.
    """
    _check_sources(sources)
    reader = _text_reader(reading)
    with _lock_file(out), _dropped(out) as dropped:
        with Writer(out.with_suffix(".candidates")) as kept:
            _map(reader, sources, annotation, grade, None, kept, dropped)
        packed = (c.packed for c in jsonl.read(kept.path, Candidate))
        count = jsonl.write((one.annotated for one in packed if one is not None), out)
        kept.path.unlink()
    _say(f"{count:,} annotated: {out}; {dropped.count:,} dropped: {dropped.path}")


@app.command
def pack(annotated: Path, /, *, out: Path, packing: _PackingOptions = PackingOptions()) -> None:
    """Check annotated trajectories for leaks, and divide them into stages.

    Parameters
    ----------
    annotated
        Output file of `annotate`.
    out
        Output file: packed trajectories.
    """
    rules = steps.packing_rules(packing, None)
    with _lock_file(out), _dropped(out) as dropped, Writer(out) as kept:
        for given in jsonl.read(annotated, AnnotatedTrajectory):
            try:
                kept.write(Candidate(anyio.run(pack_leak_free, given, rules)))
            except Dropped as why:
                dropped.write(DroppedRecord.of(given.trajectory, "pack", why))
    _say(f"{kept.count:,} packed: {out}; {dropped.count:,} dropped: {dropped.path}")


@app.command
def select(
    packed: Path,
    /,
    *,
    out: Path,
    tokenizer: Path | None = None,
    selection: _Selection = Selection(),
) -> None:
    """Keep the trajectories that are parallel enough, one for each question.

    Parameters
    ----------
    packed
        Output file of `pack`, or packed.jsonl of `run`.
    out
        Output file: the selected trajectories.
    tokenizer
        The same as for `run`.
    """
    with _lock_file(out), _dropped(out) as dropped, Writer(out) as kept:
        steps.select(packed, selection, counter(tokenizer), kept, dropped)
    _say(f"{kept.count:,} kept: {out}; {dropped.count:,} dropped: {dropped.path}")


@app.command
def render(
    selected: Path,
    /,
    *,
    out: Path,
    validation: float = 0.05,
    sequential: Annotated[bool, cyclopts.Parameter(negative=())] = False,
) -> None:
    """Render selected trajectories as samples: train.jsonl and validation.jsonl.

    Parameters
    ----------
    selected
        Output file of `select`, or selected.jsonl of `run`.
    out
        Output folder.
    validation
        The same as for `run`.
    sequential
        Render the trajectories as they were written, for the sequential baseline.
    """
    with (
        _lock_folder(out),
        Writer(out / "train.jsonl") as train,
        Writer(out / "validation.jsonl") as held_out,
    ):
        steps.render(selected, train, held_out, validation, sequential=sequential)
    _say(f"{train.count:,} training samples, {held_out.count:,} validation samples: {out}")


@app.command(name="report")
def write_report(folder: Path, /, *, tokenizer: Path | None = None) -> None:
    """Write report.html from selected.jsonl and dropped.jsonl.

    Parameters
    ----------
    folder
        Folder that contains both files. The report is written there.
    tokenizer
        The same as for `run`.
    """
    _say(str(report.write(folder, counter(tokenizer))))


@app.command
def countdown(count: int, /, *, out: Path, seed: int = 0) -> None:
    """Write trajectories of the Countdown searcher, as input for `run --annotator symbolic`.

    Parameters
    ----------
    count
        Number of trajectories.
    out
        Output file.
    seed
        Seed of the random choice of puzzles.
    """
    # An execution that asks a smaller puzzle cannot be learned as text: a nested run writes its end.
    puzzles = searcher.puzzles(CountdownData(seed=seed, spaces=searcher.FLAT), "train")
    written = (searcher.trajectory(puzzle) for puzzle in puzzles)
    with _lock_file(out):
        kept = jsonl.write(islice((one for one in written if one is not None), count), out)
    _say(f"{kept:,} trajectories: {out}")


def _map(
    reader: Reader,
    sources: tuple[str, ...],
    annotation: AnnotatorOptions | None,
    grade: graders.GraderName,
    packing: PackingOptions | None,
    kept: Writer,
    dropped: Writer,
) -> None:
    """Grades, annotates and packs everything in the sources, and displays the progress."""
    console = Console(stderr=True)
    total = None
    asks_model = annotation is not None and annotation.annotator == "llm"
    if asks_model and not any(map(is_streamed, sources)):
        # Reading everything twice costs little compared with a model, and gives the remaining time.
        total = sum(1 for _ in reader.items(sources))

    displays: list[ProgressDisplay] = []

    async def work() -> None:
        with Live(console=console, refresh_per_second=4) as live:

            def watch(session: AnnotatorSession) -> Callable[[Outcome], None]:
                displays.append(ProgressDisplay(total, session.spent))
                live.update(displays[0])
                return displays[0].add

            items = reader.items(sources)
            await steps.map_trajectories(items, annotation, grade, packing, kept, dropped, watch)

    try:
        anyio.run(work)
    finally:
        if not console.is_terminal:
            # If stderr is a file, the live display does not end its last line.
            console.print()
    if retryable := sum(display.retryable for display in displays):
        why = "the endpoint was busy or failed"
        _say(f"dropped because {why}: {retryable:,}; run the same command to ask for them again")


def _check_sources(sources: tuple[str, ...]) -> None:
    # A shell can turn a pattern that matches no file into no argument at all.
    if not sources:
        raise ValueError("there is nothing to read: give at least one file of trajectories")


def _text_reader(reading: ReadOptions) -> Reader:
    """The reader of a command that takes no traces."""
    reader = reading.reader()
    if reader.traces:
        raise ValueError("a trace is divided already: use it with `run --layout trace`")
    return reader


def _lock_folder(out: Path) -> AbstractContextManager[None]:
    return jsonl.exclusive(out, out / ".lock")


def _lock_file(out: Path) -> AbstractContextManager[None]:
    # One lock for each file: several processes may write parts of one input into the same folder.
    return jsonl.exclusive(out, out.with_name(f".{out.name}.lock"))


def _dropped(out: Path) -> Writer:
    return Writer(out.with_name(f"{out.stem}.dropped.jsonl"))


def _say(text: str) -> None:
    Console(stderr=True).print(visible(text), markup=False, highlight=False, soft_wrap=True)


def _fail(message: object, status: int = 2) -> NoReturn:
    print(f"curate: {visible(' '.join(str(message).split()))}", file=sys.stderr)
    raise SystemExit(status)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Returns the first error in a group, at any depth."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


_EXPECTED = (
    SourceError,
    MathPoolError,
    CacheError,
    EndpointDown,
    CostCeiling,
    ValueError,
    OSError,
    ImportError,
)


def main() -> None:
    """Runs a command.

    The exit status is 2 after an error, 3 at the cost ceiling, and 130 after an interrupt.
    """
    try:
        app()
    except KeyboardInterrupt:
        _fail("stopped; run the same command to resume", 130)
    except BaseExceptionGroup as group:
        error = _first(group)
        if not isinstance(error, _EXPECTED):
            raise
        _fail(error, 3 if isinstance(error, CostCeiling) else 2)
    except _EXPECTED as error:
        _fail(error, 3 if isinstance(error, CostCeiling) else 2)


if __name__ == "__main__":
    main()
