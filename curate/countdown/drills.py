"""Drills: puzzles to be begun with a quotient, for what a model reads too seldom in its trajectories.

One number divides another, or reduces with it: that is learned by heart, for each of thousands of pairs,
and a searcher comes to it last, in one trajectory of ten and behind a thousand other ids. A drill is a
trajectory whose question asks for quotients first. The openings that it works through are those that
the puzzle itself would come to, word for word.

    Use 33, 69, 91 and 78 to make 42, by a quotient first.
    a 91, b 78, c 69, d 33 to 42.
    Quotients first.
    a / b = a 91 / b 78 = 7/6, c 69, d 33.
    …
"""

from __future__ import annotations

from collections.abc import Iterator

from curate.countdown.searcher import naming, openings, search
from curate.pack.stages import Packed, pack
from curate.trajectory import Annotated, Component, Trajectory
from sprint_agent.countdown import Puzzle

GROUP = "Quotients first.\n"
ASKED = ", by a quotient first"
"""What a drill's question has before its full stop, and the puzzle's own has not."""


def drills(puzzles: Iterator[Puzzle]) -> Iterator[Packed]:
    """The drills on those of the puzzles that a quotient can begin, packed as one stage."""
    made = map(drill, puzzles)
    return (pack(annotated, shortest_execution=1) for annotated in made if annotated is not None)


def drill(puzzle: Puzzle) -> Annotated | None:
    """The trajectory of a drill, up to its first hit; None where no quotient leads to the target.

    Its components are all of the quotients: executors learn from those behind the hit as well.
    """
    question = f"{puzzle.question.removesuffix('.')}{ASKED}."
    head = Component(1, plan=naming(puzzle) + GROUP)
    text, answer = head.plan, None
    components = [head]
    for opening in (o for group in openings(puzzle) for o in group if "/" in o.task):
        found = search(opening, puzzle.target)
        if answer is None:
            text += f"{opening.task} {found.sequential}"
            answer = found.expression
        tried = Component(
            len(components) + 1, prompt=opening.task, execution=found.text, parents=frozenset({1})
        )
        components.append(tried)
    if answer is None:
        return None
    return Annotated(Trajectory(question, text, answer, claimed=answer), tuple(components))
