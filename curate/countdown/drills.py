"""Drills: puzzles that begin with a quotient, which trajectories contain too seldom.

Whether one number divides another, or reduces with it, must be memorized for thousands of pairs. But a
searcher reaches quotients last, in one trajectory of ten and after a thousand other ids. A drill is a
trajectory whose question asks for quotients first. The openings that it works through are those of the
puzzle itself, word for word.

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
"""What a drill adds to the puzzle's question, before the full stop."""


def drills(puzzles: Iterator[Puzzle]) -> Iterator[Packed]:
    """Yields a drill for each puzzle that a quotient can begin, packed as one stage."""
    made = map(drill, puzzles)
    return (pack(annotated, shortest_execution=1) for annotated in made if annotated is not None)


def drill(puzzle: Puzzle) -> Annotated | None:
    """Returns the trajectory of a drill, up to its first hit. None if no quotient leads to the target.

    Its components are all quotients, because executors also learn from those after the hit.
    """
    question = f"{puzzle.question.removesuffix('.')}{ASKED}."
    head = Component(1, plan=naming(puzzle) + GROUP)
    text, answer = head.plan, None
    components = [head]
    for opening in (o for group in openings(puzzle) for o in group if "/" in o.task):
        work = search(opening, puzzle.target)
        if answer is None:
            text += f"{opening.task} {work.sequential}"
            answer = work.expression
        quotient = Component(
            len(components) + 1, prompt=opening.task, execution=work.text, parents=frozenset({1})
        )
        components.append(quotient)
    if answer is None:
        return None
    return Annotated(Trajectory(question, text, answer, claimed=answer), tuple(components))
