"""`python -m curate`: reasoning trajectories become data that teaches planning.

`run` does all of it. The steps can also be run alone, each from file to file:
split, annotate, pack, select, render, report.
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
from curate import report, steps
from curate import run as whole
from curate.candidate import Candidate
from curate.countdown import CountdownData
from curate.drops import Dropped
from curate.files import jsonl
from curate.files.jsonl import Writer
from curate.grade import graders
from curate.grade.math_pool import CheckerError
from curate.llm.cache import CacheError
from curate.llm.endpoint import CostCeiling, EndpointDown
from curate.options import TRACE, Asking, Dividing, Reading, counter
from curate.pack.leak_free import pack_leak_free
from curate.pipeline import DroppedRecord, Outcome
from curate.progress import UsageCounter
from curate.read.sources import SourceError, Unread
from curate.run import Session
from curate.select import Selection
from curate.split.sentences import sentences
from curate.trajectory import Annotated as AnnotatedTrajectory
from curate.trajectory import Trajectory

app = cyclopts.App(name="python -m curate", help=__doc__, suppress_keyboard_interrupt=False)

_Reading = Annotated[Reading, cyclopts.Parameter(name="*")]
_Asking = Annotated[Asking, cyclopts.Parameter(name="*")]
_Dividing = Annotated[Dividing, cyclopts.Parameter(name="*")]
_Selection = Annotated[Selection, cyclopts.Parameter(name="*")]


@dataclass(frozen=True, slots=True)
class Split:
    """A trajectory and its sentences."""

    trajectory: Trajectory
    sentences: tuple[str, ...]


@app.command
def run(
    *sources: str,
    out: Path,
    grade: graders.Name = "mathematics",
    tokenizer: Path | None = None,
    validation: float = 0.05,
    reading: _Reading = Reading(),
    asking: _Asking = Asking(),
    dividing: _Dividing = Dividing(),
    selection: _Selection = Selection(),
) -> None:
    """Curate trajectories: train.jsonl, validation.jsonl, dropped.jsonl and report.html.

    It can be stopped (Ctrl-C, or worse) and started again: no answer is paid for twice, and the files
    come out the same.

    Parameters
    ----------
    sources
        JSON lines (.gz too), Parquet files, datasets:NAME, or traces with --layout trace.
    out
        The folder of what is made.
    grade
        How answers are held against the reference: as mathematics, as Countdown expressions, exactly,
        as the dataset says (given), or not at all (none).
    tokenizer
        The folder of the tokenizer that tokens are counted by; without one, words and signs are.
    validation
        The share of the questions that is held out for validation.
    """
    _any(sources)
    count = counter(tokenizer)
    with _folder(out):
        with Writer(out / "dropped.jsonl") as dropped:
            with Writer(out / "packed.jsonl") as packed:
                _map(reading, sources, asking, grade, dividing, packed, dropped)
            with Writer(out / "selected.jsonl") as selected:
                steps.select(packed.path, selection, count, selected, dropped)
        with Writer(out / "train.jsonl") as train, Writer(out / "validation.jsonl") as held_out:
            steps.render(selected.path, train, held_out, validation)
        page = report.write(out, count)
    _say(f"{train.count:,} to train on, {held_out.count:,} for validation, and {page}")


@app.command
def split(*sources: str, out: Path, reading: _Reading = Reading()) -> None:
    """Split trajectories into sentences.

    Parameters
    ----------
    sources
        As those of `run`.
    out
        The file of trajectories and their sentences.
    """
    _any(sources)
    _no_traces(reading)
    with _file(out), _dropped(out) as dropped, Writer(out) as kept:
        for item in reading.items(sources):
            if isinstance(item, Trajectory):
                kept.write(Split(item, sentences(item.text)))
            elif isinstance(item, Unread):
                dropped.write(DroppedRecord(item.source, "", "read", item.reason, item.detail))
    _say(f"{kept.count:,} split: {out}; {dropped.count:,} dropped: {dropped.path}")


@app.command
def annotate(
    *sources: str,
    out: Path,
    grade: graders.Name = "mathematics",
    reading: _Reading = Reading(),
    asking: _Asking = Asking(),
) -> None:
    """Find the components of trajectories, and their dependencies.

    Parameters
    ----------
    sources
        As those of `run`.
    out
        The file of annotated trajectories.
    grade
        As that of `run`.
    """
    _any(sources)
    _no_traces(reading)
    with _file(out), _dropped(out) as dropped:
        with Writer(out.with_suffix(".candidates")) as kept:
            _map(reading, sources, asking, grade, None, kept, dropped)
        found = (c.packed for c in jsonl.read(kept.path, Candidate))
        count = jsonl.write((one.annotated for one in found if one is not None), out)
        kept.path.unlink()
    _say(f"{count:,} annotated: {out}; {dropped.count:,} dropped: {dropped.path}")


@app.command
def pack(annotated: Path, /, *, out: Path, dividing: _Dividing = Dividing()) -> None:
    """Check annotated trajectories for leaks, and divide them into stages.

    Parameters
    ----------
    annotated
        The file of `annotate`.
    out
        The file of packed trajectories.
    """
    how = whole.packing(dividing, None)
    with _file(out), _dropped(out) as dropped, Writer(out) as kept:
        for given in jsonl.read(annotated, AnnotatedTrajectory):
            try:
                kept.write(Candidate(anyio.run(pack_leak_free, given, how)))
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
    """Select those that are parallel enough, one for each question.

    Parameters
    ----------
    packed
        The file of `pack`, or the packed.jsonl of `run`.
    out
        The file of what is kept.
    tokenizer
        As that of `run`.
    """
    with _file(out), _dropped(out) as dropped, Writer(out) as kept:
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
    """Render what was selected as samples: train.jsonl and validation.jsonl.

    Parameters
    ----------
    selected
        The file of `select`, or the selected.jsonl of `run`.
    out
        The folder of the samples.
    validation
        As that of `run`.
    sequential
        The trajectories as they were written, for the sequential baseline.
    """
    with (
        _folder(out),
        Writer(out / "train.jsonl") as train,
        Writer(out / "validation.jsonl") as held_out,
    ):
        steps.render(selected, train, held_out, validation, sequential=sequential)
    _say(f"{train.count:,} to train on, {held_out.count:,} for validation: {out}")


@app.command(name="report")
def write_report(folder: Path, /, *, tokenizer: Path | None = None) -> None:
    """Write report.html from selected.jsonl and dropped.jsonl.

    Parameters
    ----------
    folder
        Where they stand.
    tokenizer
        As that of `run`.
    """
    _say(str(report.write(folder, counter(tokenizer))))


@app.command
def countdown(count: int, /, *, out: Path, seed: int = 0) -> None:
    """Write trajectories of the Countdown searcher, to be curated with --annotator symbolic.

    Parameters
    ----------
    count
        How many.
    out
        The file of trajectories.
    seed
        Which puzzles.
    """
    # An execution that asks a smaller puzzle is no text to be learned: a run inside ends it.
    puzzles = searcher.puzzles(CountdownData(seed=seed, spaces=searcher.FLAT), "train")
    written = (searcher.trajectory(puzzle) for puzzle in puzzles)
    with _file(out):
        kept = jsonl.write(islice((one for one in written if one is not None), count), out)
    _say(f"{kept:,} trajectories: {out}")


def _map(
    reading: Reading,
    sources: tuple[str, ...],
    asking: Asking,
    grade: graders.Name,
    dividing: Dividing | None,
    kept: Writer,
    dropped: Writer,
) -> None:
    """Grades, annotates and packs all that is read, on the screen."""
    console = Console(stderr=True)
    who_annotates = None if reading.layout == TRACE else asking
    streamed = any(source.startswith("datasets:") for source in sources)
    total = None
    if who_annotates is not None and who_annotates.annotator == "llm" and not streamed:
        # To read it all once more is little beside asking a model, and tells how long that takes.
        total = sum(1 for _ in reading.items(sources))

    tallies: list[UsageCounter] = []

    async def work() -> None:
        with Live(console=console, refresh_per_second=4) as live:

            def watch(who: Session) -> Callable[[Outcome], None]:
                tallies.append(UsageCounter(total, who.spent))
                live.update(tallies[0])
                return tallies[0].add

            items = reading.items(sources)
            await whole.curate(items, who_annotates, grade, dividing, kept, dropped, watch)

    try:
        anyio.run(work)
    finally:
        if not console.is_terminal:
            # What a live display leaves in a file has no end of line.
            console.print()
    if passing := sum(tally.passing for tally in tallies):
        why = "the endpoint was busy or failed"
        _say(f"dropped because {why}: {passing:,}; the same command asks for them again")


def _any(sources: tuple[str, ...]) -> None:
    # A pattern that matches no file can arrive as nothing at all.
    if not sources:
        raise ValueError("there is nothing to read: name the files of trajectories")


def _no_traces(reading: Reading) -> None:
    if reading.layout == TRACE:
        raise ValueError("a trace is divided already: give it to `run`")


def _folder(out: Path) -> AbstractContextManager[None]:
    return jsonl.alone(out, out / ".lock")


def _file(out: Path) -> AbstractContextManager[None]:
    # Parts of one input may be written into one folder at the same time.
    return jsonl.alone(out, out.with_name(f".{out.name}.lock"))


def _dropped(out: Path) -> Writer:
    return Writer(out.with_name(f"{out.stem}.dropped.jsonl"))


def _say(text: str) -> None:
    Console(stderr=True).print(text, highlight=False, soft_wrap=True)


def _fail(message: object, status: int = 2) -> NoReturn:
    print(f"curate: {' '.join(str(message).split())}", file=sys.stderr)
    raise SystemExit(status)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error in a group, however deep."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


_EXPECTED = (
    SourceError,
    CheckerError,
    CacheError,
    EndpointDown,
    CostCeiling,
    ValueError,
    OSError,
    ImportError,
)


def main() -> None:
    """Runs a command. Exit status 2 for what cannot be done, 3 at the ceiling, 130 where stopped."""
    try:
        app()
    except KeyboardInterrupt:
        _fail("stopped; the same command goes on from here", 130)
    except BaseExceptionGroup as group:
        error = _first(group)
        if not isinstance(error, _EXPECTED):
            raise
        _fail(error, 3 if isinstance(error, CostCeiling) else 2)
    except _EXPECTED as error:
        _fail(error, 3 if isinstance(error, CostCeiling) else 2)


if __name__ == "__main__":
    main()
