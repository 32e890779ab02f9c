"""The Countdown data: puzzles, the searcher's trajectories on them, and what is learned from each.

Of some trajectories the planner learns a rendering, of a run that ends at the first success or, for
a share of them, of one that waits for all; and executors learn from the openings that the trajectory
itself worked through: the hit, and the misses before it. Of others only the first stage is learned, its
plan and its executions: executors have more to learn than the planner, and their contexts are short.
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
"""Where puzzles are drawn from whose executions ask no smaller ones, and how many in turn from each."""
SPACES = (*FLAT, (PuzzleSpace(count=5), 4))
"""The same, and puzzles whose executions ask smaller ones."""
_MISTAKEN = 0.3
"""The share of misses that may claim a hit, in a run where some do."""
_NEAR = (-2, -1, 1, 2)
"""How far from the target a result is that is taken for it."""
_LATE = 12
_LATE_INSIDE = 400
"""By how many tokens at most an execution is late, and one that a nested run is part of."""


@dataclass(frozen=True, slots=True)
class CountdownData:
    """How much data, and of what mixture.

    `trajectories` in all, on puzzles of the `spaces` in turn, of each as many as it says. Of so many of
    them as `runs` says, a planner and executors learn: these from all openings that the trajectory
    itself worked through. One of those in `late_every` has two stages, which one trajectory in eleven
    has by nature: too few to learn from. One in `waiting_every` waits for all executions, the others
    end at the first success; and in one of `mistaken_every` of these, some of the executions that the
    planner reads claim what is none. Of the last `searches` trajectories the first stage alone is
    learned. `drills` are trajectories besides, evenly among the others, on puzzles of four numbers.
    """

    trajectories: int = 41_000
    runs: int = 5_700
    searches: int = 13_700
    drills: int = 12_000
    seed: int = 0
    spaces: tuple[tuple[PuzzleSpace, int], ...] = SPACES
    late_every: int = 2
    waiting_every: int = 4
    mistaken_every: int = 2

    def scaled(self, trajectories: int) -> CountdownData:
        """The same mixture out of another number of trajectories."""
        share = trajectories / self.trajectories
        runs, searches = round(self.runs * share), round(self.searches * share)
        drills = round(self.drills * share)
        return replace(self, trajectories=trajectories, runs=runs, searches=searches, drills=drills)

    def drawn_from(self, trajectories: int) -> CountdownData:
        """The same recipe, where there are so many trajectories.

        Where there are fewer than here, all the more of them are rendered as runs, and learned from for
        their first stage: in the same mixture, the planner would see too few to learn to copy.
        """
        most = self.scaled(max(trajectories, self.trajectories))
        return replace(
            self.scaled(trajectories),
            runs=min(trajectories, most.runs),
            searches=min(trajectories, most.searches),
        )


def puzzles(data: CountdownData, wanted: Split) -> Iterator[Puzzle]:
    """The puzzles of one split, from all spaces in turn; a space that is used up gives no more."""
    drawn = [generate(space, wanted, data.seed) for space, _ in data.spaces]
    order = _evenly([often for _, often in data.spaces])
    while True:
        found = [puzzle for place in order if (puzzle := next(drawn[place], None)) is not None]
        if not found:
            return
        yield from found


def _evenly(counts: Sequence[int]) -> list[int]:
    """An order of streams, named by their places, that takes each so often, spread evenly over all."""
    marks = (((k + 0.5) / often, at) for at, often in enumerate(counts) for k in range(often))
    return [at for _, at in sorted(marks)]


def trajectories(data: CountdownData, wanted: Split) -> Iterator[Packed]:
    """Packed trajectories on those of the puzzles that the searcher solves."""
    written = (symbolic.trajectory(puzzle) for puzzle in puzzles(data, wanted))
    # Its executions are short by nature: one line for each thing that two numbers can make.
    packed = (pack(symbolic.annotate(t), shortest_execution=1) for t in written if t is not None)
    return islice((p for p in packed if _is_parallel(p)), data.trajectories)


def _is_parallel(packed: Packed) -> bool:
    try:
        check(measure(without_notes(packed, claim), len), Selection())
    except Dropped:
        return False
    return True


def runs(packed: Sequence[Packed], data: CountdownData) -> Iterator[Packed]:
    """Those of the trajectories that are rendered as runs, those with two stages evenly among them."""
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
    """What the SPRINT model learns from trajectories and drills, each kind spread evenly over all.

    `length` is how many tokens a text has.
    """
    searches = packed[max(0, len(packed) - data.searches) :]
    planned = (run_sample(p, data, length, n) for n, p in enumerate(runs(packed, data)))
    kinds = (planned, map(search_sample, searches), map(search_sample, drilled))
    counts = (min(data.runs, len(packed)), len(searches), len(drilled))
    return (next(kinds[kind]) for kind in _evenly(counts))


def rft_samples(packed: Sequence[Packed], drilled: Sequence[Packed]) -> Iterator[Sample]:
    """What the RFT model learns from them: the same texts, left sequential, in as even an order."""
    kinds = (map(rft_sample, packed), map(rft_sample, drilled))
    return (next(kinds[kind]) for kind in _evenly((len(packed), len(drilled))))


def rft_sample(packed: Packed) -> Sample:
    """What the RFT model learns from a trajectory: the same text, left sequential."""
    return Sample(sequential(packed.annotated.trajectory))


def run_sample(
    packed: Packed, data: CountdownData, length: Callable[[str], int], number: int
) -> Sample:
    """What planner and executors learn from the `number`-th run."""
    rng = random.Random(f"{data.seed}/{number}")
    if rng.randrange(data.waiting_every) == 0:
        run = _derived(without_notes(packed, claim))
    else:
        mistaken = rng.randrange(data.mistaken_every) == 0 and not _asks(packed)
        read = _mistaken(packed, rng) if mistaken else packed
        late = _LATE_INSIDE if _asks(packed) else _LATE
        run = _derived(first_success(read, _right(packed), length, lambda: rng.randint(0, late)))
    return Sample(run, executions=_executions(packed))


def search_sample(packed: Packed) -> Sample:
    """What executors learn from a trajectory's first stage, and the planner from its plan."""
    run = without_notes(packed, claim)
    executions = _executions(packed)
    first = {name: text for name, text in executions.items() if name.startswith("1.")}
    return Sample(run, planner=False, executions=first)


def _derived(run: Transcript) -> Transcript:
    """The run, whose answer says how it came about, as the execution does that found it.

    Where a check said what it accepted, the answer is that. A line that is copied whole goes wrong less
    often than an expression alone: all of what stands before an id tells where the next one is.
    """
    verdict = run.stages[-1].verdict
    if verdict is not None and verdict.remark:
        return run
    found = claimed(run.stages[-1], claim)
    assert found is not None
    line = found.splitlines()[-1]
    return replace(run, answer=f"{tags.force_answer()}{line}\n")


def _right(packed: Packed) -> Claim:
    """What a check of executions accepts: the claims that are right."""
    puzzle = _puzzle(packed)

    return lambda text: right_claim(text, puzzle)


def _asks(packed: Packed) -> bool:
    """Whether executions ask smaller puzzles; a claim that comes from one was verified, and is right."""
    return any(Smaller.read(task.execution) for stage in packed.stages for task in stage)


def _mistaken(packed: Packed, rng: random.Random) -> Packed:
    """The trajectory, with misses that claim a near miss for a hit, as a model does at times.

    A planner learns from it to go by what was accepted. No executor learns it.
    """
    puzzle = _puzzle(packed)
    found = {opening.task: opening for group in openings(puzzle) for opening in group}
    near = [puzzle.target + by for by in _NEAR if puzzle.target + by > 0]

    def as_read(component: Component) -> Component:
        missed = component.prompt and claim(component.execution) is None
        if not missed or rng.random() > _MISTAKEN:
            return component
        tried = (search(found[component.prompt], target) for target in rng.sample(near, len(near)))
        text = next((s.text for s in tried if s.expression is not None), component.execution)
        return replace(component, execution=text)

    return replace(packed, stages=tuple(tuple(map(as_read, stage)) for stage in packed.stages))


def _puzzle(packed: Packed) -> Puzzle:
    return Puzzle.parse(packed.annotated.trajectory.question)


def drilled(data: CountdownData, wanted: Split) -> list[Packed]:
    """The drills, on puzzles of the widest of the spaces of four numbers; none where there is no such.

    Both methods learn them: each is a sample of a first stage, or a sequential one.
    """
    spaces = [space for space, _ in data.spaces if space.count == 4]
    if not spaces:
        return []
    widest = max(spaces, key=lambda space: space.high)
    return list(islice(drills(generate(widest, wanted, data.seed + 1)), data.drills))


def _executions(packed: Packed) -> dict[str, str]:
    """What executors learn from a run: of its prompts, those that the search visited.

    All of these were written before the search's hit ended its stage. Of one that asks a smaller puzzle,
    the model writes what stands up to the question.
    """
    return {
        f"{stage_number}.{number}": _written(task.execution)
        for stage_number, stage in enumerate(packed.stages, 1)
        for number, task in enumerate((c for c in stage if c.prompt), 1)
        if task.visited
    }


def _written(execution: str) -> str:
    asked = Smaller.read(execution)
    return execution if asked is None else asked.text
