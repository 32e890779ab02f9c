"""The symbolic annotator: steps and dependencies of the searcher's trajectories, by construction.

An opening needs the outcome of no other opening of its group, so the openings of a group can be
worked on at the same time; the second group is only begun because the whole first one failed, so it
needs all of that. The trajectory announces a group and ends at its first hit; the openings of the
group that it did not reach are annotated too, as not visited.
"""

from __future__ import annotations

from curate.countdown.searcher import announcements, openings, search, write
from curate.drops import Dropped, Reason
from curate.trajectory import Annotated, Component, Trajectory
from sprint_agent.countdown import Puzzle
from sprint_agent.errors import QuestionError


def trajectory(puzzle: Puzzle) -> Trajectory | None:
    """The searcher's trajectory on `puzzle`; None where it finds no answer."""
    written = write(puzzle)
    if written is None:
        return None
    text, answer = written
    return Trajectory(puzzle.question, text, answer, claimed=answer)


def annotate(given: Trajectory) -> Annotated:
    """The components of one of the searcher's trajectories. Raises Dropped for any other."""
    puzzle = _written(given)
    components: list[Component] = []
    needed: frozenset[int] = frozenset()
    reached = True
    for announcement, group in zip(announcements(puzzle), openings(puzzle), strict=True):
        head = Component(len(components) + 1, plan=announcement, parents=needed)
        components.append(head)
        hit = False
        for opening in group:
            found = search(opening, puzzle.target)
            components.append(
                Component(
                    number=len(components) + 1,
                    prompt=opening.task,
                    execution=found.text,
                    parents=frozenset({head.number}),
                    visited=reached,
                )
            )
            hit = hit or found.expression is not None
            reached = not hit
        if hit:
            break
        needed = frozenset(component.number for component in components[head.number :])
    return Annotated(given, tuple(components))


def _written(given: Trajectory) -> Puzzle:
    """The puzzle of a trajectory that the searcher wrote."""
    try:
        puzzle = Puzzle.parse(given.question)
    except QuestionError as error:
        raise Dropped(Reason.UNREADABLE, str(error)) from error
    found = write(puzzle)
    if found is None or found[0].strip() != given.text.strip():
        raise Dropped(Reason.UNREADABLE, "it is not what the searcher of Countdown writes")
    return puzzle
