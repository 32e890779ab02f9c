"""The Countdown data: puzzles, the searcher's trajectories on them, and what is learned from each.

Of every trajectory the planner learns one rendering, of a run that ends at the first success or, for
a share of them, of one that waits for all; and executors learn from the openings that the trajectory
itself worked through: the hit, and some of the misses.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from curate.countdown import symbolic
from curate.dropped import Dropped
from curate.pack import Packed, pack
from curate.render import claimed, first_success, sequential, waiting
from curate.samples import Sample
from curate.select import Selection, check, figures
from sprint_agent import grammar
from sprint_agent.countdown import Puzzle, PuzzleSpace, Split, claim, generate
from sprint_agent.transcript import Transcript


@dataclass(frozen=True, slots=True)
class CountdownData:
    """How much data, and of what mixture.

    `trajectories` in all, and how many of them are rendered as runs; one in `three_every` has three
    numbers, the others four. One run in `late_every` has two stages, which one trajectory in seven has
    by nature: too few to learn from. The planner learns from each run: of one in `waiting_every` by a
    run that waits for all executions, of the others by runs that end at the first success, `endings` of
    them where there is one stage; in one of `refused_every`, a claim is passed by first. Executors
    learn from the hit, from up to `misses` openings of its first stage that missed, and from
    `late_misses` of the second.
    """

    trajectories: int = 36_000
    runs: int = 8_000
    seed: int = 0
    three_every: int = 10
    late_every: int = 2
    waiting_every: int = 10
    refused_every: int = 4
    endings: int = 2
    misses: int = 6
    late_misses: int = 8


def puzzles(data: CountdownData, wanted: Split) -> Iterator[Puzzle]:
    """The puzzles of one split: three numbers and four, mixed."""
    three = generate(PuzzleSpace(count=3), wanted, data.seed)
    four = generate(PuzzleSpace(count=4), wanted, data.seed)
    number = 0
    while True:
        source = three if number % data.three_every == 0 else four
        puzzle = next(source, None)
        yield puzzle if puzzle is not None else next(four)
        number += 1


def trajectories(data: CountdownData, wanted: Split) -> Iterator[Packed]:
    """Packed trajectories on those of the puzzles that the searcher solves."""
    written = (symbolic.trajectory(puzzle) for puzzle in puzzles(data, wanted))
    # Its executions are short by nature: one line for each thing that two numbers can make.
    packed = (pack(symbolic.annotate(t), shortest_execution=1) for t in written if t is not None)
    return islice((p for p in packed if _is_parallel(p)), data.trajectories)


def _is_parallel(packed: Packed) -> bool:
    try:
        check(figures(waiting(packed, claim), len), Selection())
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
    packed: Packed, data: CountdownData, length: Callable[[str], int], number: int
) -> Iterator[Sample]:
    """What the SPRINT model learns from the `number`-th trajectory."""
    rng = random.Random(f"{data.seed}/{number}")
    if rng.randrange(data.waiting_every) == 0:
        whole = _derived(waiting(packed, claim))
        yield Sample(whole, executions=_executions(packed, whole, data, rng))
        return
    for ending in range(data.endings if len(packed.stages) == 1 else 1):
        refused = int(rng.randrange(data.refused_every) == 0)
        ended = first_success(packed, claim, length, lambda: rng.randint(0, 12), refused)
        ended = _derived(ended)
        yield Sample(ended, executions={} if ending else _executions(packed, ended, data, rng))


def _derived(run: Transcript) -> Transcript:
    """The run, whose answer says how it came about, as the execution does that found it.

    A line that is copied whole goes wrong less often than an expression alone: all of what stands before
    an id tells where the next one is.
    """
    found = claimed(run.stages[-1], claim)
    assert found is not None
    line = found.splitlines()[-1]
    return replace(run, answer=f"{grammar.force_answer()}{line}\n")


def rft_sample(packed: Packed) -> Sample:
    """What the RFT model learns from a trajectory: the same text, left sequential."""
    return Sample(sequential(packed.annotated.trajectory))


def _executions(
    packed: Packed, run: Transcript, data: CountdownData, rng: random.Random
) -> dict[str, str]:
    """What executors learn from a run: of its prompts, those that the search visited."""
    hits: dict[str, str] = {}
    misses: dict[str, str] = {}
    late: dict[str, str] = {}
    for stage_number, (stage, written) in enumerate(zip(packed.stages, run.stages, strict=True), 1):
        tasks = [component for component in stage if component.prompt]
        for number, task in enumerate(tasks[: len(written.executions)], 1):
            if not task.visited:
                continue
            hit = claim(task.execution) is not None
            kind = hits if hit else misses if stage_number == 1 else late
            kind[f"{stage_number}.{number}"] = task.execution
    return hits | _some(misses, data.misses, rng) | _some(late, data.late_misses, rng)


def _some(texts: dict[str, str], most: int, rng: random.Random) -> dict[str, str]:
    return {name: texts[name] for name in rng.sample(sorted(texts), min(most, len(texts)))}
