"""The Countdown data: puzzles, the searcher's trajectories on them, and what is learned from each.

Of every trajectory the planner learns one rendering, of a run that ends at the first success or, for
a share of them, of one that waits for all; and executors learn from the openings that the trajectory
itself worked through: the hit, and some of the misses.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from curate.countdown import symbolic
from curate.countdown.searcher import openings, search
from curate.dropped import Dropped
from curate.pack import Packed, pack
from curate.render import Claim, claimed, first_success, sequential, waiting
from curate.samples import Sample
from curate.select import Selection, check, figures
from curate.trajectory import Component
from sprint_agent import grammar
from sprint_agent.countdown import Puzzle, PuzzleSpace, Split, claim, generate, verify
from sprint_agent.transcript import Transcript

_RESULT = re.compile(r"(\d+) (?:high|low)")
_MISTAKEN = 0.3
"""The share of misses that may claim a hit, in a run where some do."""
_NEAR = (-2, -1, 1, 2)
"""How far from the target a result is that is taken for it."""


@dataclass(frozen=True, slots=True)
class CountdownData:
    """How much data, and of what mixture.

    `trajectories` in all, and how many of them are rendered as runs; one in `three_every` has three
    numbers, the others four. One run in `late_every` has two stages, which one trajectory in seven has
    by nature: too few to learn from. The planner learns from each run: of one in `waiting_every` by a
    run that waits for all executions, of the others by runs that end at the first success, `endings` of
    them where there is one stage; in one of `mistaken_every`, some of the executions that it reads claim
    what is none. Executors learn from the hit, from up to `misses` openings of its first stage that
    missed, and from `late_misses` of the second.
    """

    trajectories: int = 36_000
    runs: int = 8_000
    seed: int = 0
    three_every: int = 10
    late_every: int = 2
    waiting_every: int = 10
    mistaken_every: int = 2
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
        read = _mistaken(packed, rng) if rng.randrange(data.mistaken_every) == 0 else packed
        ended = _derived(first_success(read, _right(packed), length, lambda: rng.randint(0, 12)))
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


def _right(packed: Packed) -> Claim:
    """What a check of executions accepts: the claims that are right."""
    puzzle = _puzzle(packed)

    def right(text: str) -> str | None:
        claimed = claim(text)
        return claimed if claimed is not None and verify(claimed, puzzle) else None

    return right


def _mistaken(packed: Packed, rng: random.Random) -> Packed:
    """The trajectory, with misses that claim a near miss for a hit, as a model does at times.

    A planner learns from it to go by what was accepted. No executor learns it.
    """
    puzzle = _puzzle(packed)
    found = {opening.task: opening for group in openings(puzzle) for opening in group}
    near = [puzzle.target + by for by in _NEAR if puzzle.target + by > 0]

    def seen(component: Component) -> Component:
        hit = not component.prompt or claim(component.execution) is not None
        if hit or rng.random() > _MISTAKEN:
            return component
        tried = (search(found[component.prompt], target) for target in rng.sample(near, len(near)))
        text = next((s.text for s in tried if s.expression is not None), component.execution)
        return replace(component, execution=text)

    return replace(packed, stages=tuple(tuple(map(seen, stage)) for stage in packed.stages))


def _puzzle(packed: Packed) -> Puzzle:
    return Puzzle.parse(packed.annotated.trajectory.question)


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
    target = _puzzle(packed).target
    return (
        hits | _some(misses, data.misses, target, rng) | _some(late, data.late_misses, target, rng)
    )


def _some(texts: dict[str, str], most: int, target: int, rng: random.Random) -> dict[str, str]:
    """Half of them those that come nearest to the target, which are the hardest to tell from hits."""
    near = sorted(texts, key=lambda name: _distance(texts[name], target))[: most // 2]
    others = sorted(texts.keys() - near)
    return {k: texts[k] for k in (*near, *rng.sample(others, min(most - len(near), len(others))))}


def _distance(text: str, target: int) -> float:
    """How near to the target a result comes in what was tried."""
    results = (int(found) for found in _RESULT.findall(text))
    return min((abs(result - target) for result in results), default=math.inf)
