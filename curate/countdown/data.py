"""The Countdown data: puzzles, the searcher's trajectories on them, and what is learned from each.

From some trajectories the planner learns a run. Most of these runs end at the first success, and a
share of them waits for all executions. Executors learn from the openings that the trajectory itself
worked through: the hit, and the misses before it. From other trajectories only the first stage is
learned, its plan and its executions, because executors have more to learn than the planner and their
contexts are short.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from curate.countdown import symbolic
from curate.countdown.drills import drills
from curate.countdown.searcher import openings, search
from curate.drops import Dropped
from curate.pack.stages import Packed, pack
from curate.render import Claim, claimed, first_success, sequential, without_notes
from curate.samples import Sample
from curate.select import Selection, check, measure
from curate.trajectory import Component
from sprint_agent.countdown import Puzzle, PuzzleSpace, Smaller, Split, claim, generate, right_claim
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import Transcript

FLAT = (
    (PuzzleSpace(count=3), 1),
    (PuzzleSpace(count=4), 3),
    (PuzzleSpace(count=4, high=99), 12),
)
"""The spaces of puzzles whose executions ask no smaller ones.

Each has a weight: how many puzzles in turn are drawn from it.
"""
SPACES = (*FLAT, (PuzzleSpace(count=5), 4))
"""The same, and a space of puzzles whose executions ask smaller ones."""
_MISTAKEN = 0.3
"""The share of misses that falsely claim a hit, in a run that has such claims."""
_NEAR = (-2, -1, 1, 2)
"""The distances from the target of a result that is mistaken for it."""
_MAX_DELAY = 12
"""The most tokens by which an execution starts late."""
_MAX_DELAY_NESTED = 400
"""The same for an execution that contains a nested run."""


@dataclass(frozen=True, slots=True)
class CountdownData:
    """How much data there is, and in what mixture.

    Some trajectories are rendered as runs, and some teach only their first stage. The drills are
    additional trajectories, spread evenly among the others.
    """

    trajectories: int = 41_000
    """All trajectories except the drills."""
    runs: int = 5_700
    """The trajectories from which a planner and executors learn.

    Executors learn from all openings that the trajectory itself worked through.
    """
    searches: int = 13_700
    """The trajectories, the last ones, from which only the first stage is learned."""
    drills: int = 12_000
    """Additional trajectories, on puzzles of four numbers that begin with a quotient."""
    seed: int = 0
    spaces: tuple[tuple[PuzzleSpace, int], ...] = SPACES
    """The spaces of the puzzles. Each has a weight: how many puzzles in turn are drawn from it."""
    late_every: int = 2
    """One of this many runs has two stages.

    Only one trajectory in eleven has two stages by nature, too few to learn from.
    """
    waiting_every: int = 4
    """One of this many runs waits for all executions. The others end at the first success."""
    mistaken_every: int = 2
    """In one of this many runs that end at the first success, the planner reads false claims."""

    def scaled(self, trajectories: int) -> CountdownData:
        """Returns the same mixture for another number of trajectories."""
        share = trajectories / self.trajectories
        runs, searches = round(self.runs * share), round(self.searches * share)
        drills = round(self.drills * share)
        return replace(self, trajectories=trajectories, runs=runs, searches=searches, drills=drills)

    def drawn_from(self, trajectories: int) -> CountdownData:
        """Returns the same recipe for this many trajectories.

        If there are fewer than here, a larger share is rendered as runs, and a larger share teaches its
        first stage. In the same mixture the planner would see too few runs to learn to copy.
        """
        most = self.scaled(max(trajectories, self.trajectories))
        return replace(
            self.scaled(trajectories),
            runs=min(trajectories, most.runs),
            searches=min(trajectories, most.searches),
        )


def puzzles(data: CountdownData, wanted: Split) -> Iterator[Puzzle]:
    """Yields the puzzles of one split, from all spaces in turn, until all spaces are used up."""
    drawn = [generate(space, wanted, data.seed) for space, _ in data.spaces]
    order = _evenly([often for _, often in data.spaces])
    while True:
        batch = [puzzle for at in order if (puzzle := next(drawn[at], None)) is not None]
        if not batch:
            return
        yield from batch


def _evenly(counts: Sequence[int]) -> list[int]:
    """Returns indices of `counts` in an order in which each occurs that often, spread evenly."""
    marks = (((k + 0.5) / often, at) for at, often in enumerate(counts) for k in range(often))
    return [at for _, at in sorted(marks)]


def trajectories(data: CountdownData, wanted: Split) -> Iterator[Packed]:
    """Yields packed trajectories on the puzzles that the searcher solves."""
    written = (symbolic.trajectory(puzzle) for puzzle in puzzles(data, wanted))
    # The executions are short by nature: one line for each result of two numbers.
    packed = (pack(symbolic.annotate(t), shortest_execution=1) for t in written if t is not None)
    return islice((p for p in packed if _is_parallel(p)), data.trajectories)


def _is_parallel(packed: Packed) -> bool:
    try:
        check(measure(without_notes(packed, claim), len), Selection())
    except Dropped:
        return False
    return True


def runs(packed: Sequence[Packed], data: CountdownData) -> Iterator[Packed]:
    """Yields the trajectories that are rendered as runs. Those with two stages are spread evenly."""
    one = (p for p in packed if len(p.stages) == 1)
    late = (p for p in packed if len(p.stages) > 1)
    for number in range(min(data.runs, len(packed))):
        wanted, other = (late, one) if number % data.late_every == 0 else (one, late)
        yield next(wanted, None) or next(other)


def sprint_samples(
    packed: Sequence[Packed],
    drilled: Sequence[Packed],
    data: CountdownData,
    length: Callable[[str], int],
) -> Iterator[Sample]:
    """Yields what the SPRINT model learns from trajectories and drills. Each kind is spread evenly.

    Args:
        length: returns how many tokens a text has.
    """
    searches = packed[max(0, len(packed) - data.searches) :]
    planned = (run_sample(p, data, length, n) for n, p in enumerate(runs(packed, data)))
    kinds = (planned, map(search_sample, searches), map(search_sample, drilled))
    counts = (min(data.runs, len(packed)), len(searches), len(drilled))
    return (next(kinds[kind]) for kind in _evenly(counts))


def rft_samples(packed: Sequence[Packed], drilled: Sequence[Packed]) -> Iterator[Sample]:
    """Yields what the RFT model learns from the same texts, unsplit and spread as evenly."""
    kinds = (map(rft_sample, packed), map(rft_sample, drilled))
    return (next(kinds[kind]) for kind in _evenly((len(packed), len(drilled))))


def rft_sample(packed: Packed) -> Sample:
    """Returns what the RFT model learns from a trajectory: the same text, unsplit."""
    return Sample(sequential(packed.annotated.trajectory))


def run_sample(
    packed: Packed, data: CountdownData, length: Callable[[str], int], number: int
) -> Sample:
    """Returns what the planner and the executors learn from the `number`-th run."""
    rng = random.Random(f"{data.seed}/{number}")
    if rng.randrange(data.waiting_every) == 0:
        run = _derived(without_notes(packed, claim))
    else:
        mistaken = rng.randrange(data.mistaken_every) == 0 and not _asks_smaller(packed)
        read = _mistaken(packed, rng) if mistaken else packed
        most = _MAX_DELAY_NESTED if _asks_smaller(packed) else _MAX_DELAY
        run = _derived(first_success(read, _right(packed), length, lambda: rng.randint(0, most)))
    return Sample(run, executions=_executions(packed))


def search_sample(packed: Packed) -> Sample:
    """Returns what is learned from a trajectory's first stage: its plan and its executions."""
    run = without_notes(packed, claim)
    executions = _executions(packed)
    first = {name: text for name, text in executions.items() if name.startswith("1.")}
    return Sample(run, planner=False, executions=first)


def _derived(run: Transcript) -> Transcript:
    """Returns the run with the derivation of its answer, copied from the execution that found it.

    If a check said what it accepted, the answer stays as it is. A model copies a whole line with fewer
    errors than an expression alone, because all text before an id shows where the next one is.
    """
    verdict = run.stages[-1].verdict
    if verdict is not None and verdict.remark:
        return run
    execution = claimed(run.stages[-1], claim)
    assert execution is not None
    line = execution.splitlines()[-1]
    return replace(run, answer=f"{tags.force_answer()}{line}\n")


def _right(packed: Packed) -> Claim:
    """Returns what a check of executions accepts: the correct claims."""
    puzzle = _puzzle(packed)

    return lambda text: right_claim(text, puzzle)


def _asks_smaller(packed: Packed) -> bool:
    """Returns whether executions ask smaller puzzles.

    A claim from a smaller puzzle was verified, so it is correct.
    """
    return any(Smaller.read(task.execution) for stage in packed.stages for task in stage)


def _mistaken(packed: Packed, rng: random.Random) -> Packed:
    """Returns the trajectory with false claims: some misses take a near miss for a hit, as models do.

    From this the planner learns to rely on what was accepted. Executors do not learn it.
    """
    puzzle = _puzzle(packed)
    by_task = {opening.task: opening for group in openings(puzzle) for opening in group}
    near = [puzzle.target + by for by in _NEAR if puzzle.target + by > 0]

    def as_read(component: Component) -> Component:
        missed = component.prompt and claim(component.execution) is None
        if not missed or rng.random() > _MISTAKEN:
            return component
        tried = (
            search(by_task[component.prompt], target) for target in rng.sample(near, len(near))
        )
        text = next((s.text for s in tried if s.expression is not None), component.execution)
        return replace(component, execution=text)

    return replace(packed, stages=tuple(tuple(map(as_read, stage)) for stage in packed.stages))


def _puzzle(packed: Packed) -> Puzzle:
    return Puzzle.parse(packed.annotated.trajectory.question)


def drilled(data: CountdownData, wanted: Split) -> list[Packed]:
    """Returns the drills, on puzzles of the space of four numbers with the largest range.

    There are none if no space has four numbers. Both methods learn them, SPRINT as a first stage and
    RFT as sequential text.
    """
    spaces = [space for space, _ in data.spaces if space.count == 4]
    if not spaces:
        return []
    widest = max(spaces, key=lambda space: space.high)
    return list(islice(drills(generate(widest, wanted, data.seed + 1)), data.drills))


def _executions(packed: Packed) -> dict[str, str]:
    """Returns what executors learn from a run: the executions of the prompts that the search visited.

    The search wrote all of these before its hit ended the stage. If one asks a smaller puzzle, the model
    learns its text up to and including that question.
    """
    return {
        f"{stage_number}.{number}": _own_text(task.execution)
        for stage_number, stage in enumerate(packed.stages, 1)
        for number, task in enumerate((c for c in stage if c.prompt), 1)
        if task.visited
    }


def _own_text(execution: str) -> str:
    smaller = Smaller.read(execution)
    return execution if smaller is None else smaller.text
