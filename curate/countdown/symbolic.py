"""The symbolic annotator: finds the steps and dependencies of the searcher's trajectories by rule.

An opening needs the outcome of no other opening in its group, so the openings of a group can be worked
on at the same time. The second group is begun only because the whole first group failed, so it depends
on all of that. The trajectory announces a group and ends at its first hit. The openings of the group
that it did not reach are annotated too, as not visited.
"""

from __future__ import annotations

from curate.countdown.searcher import announcements, openings, search, write
from curate.drops import Dropped, Reason
from curate.trajectory import Annotated, Component, Trajectory
from sprint_agent.countdown import Puzzle
from sprint_agent.errors import QuestionError


def trajectory(puzzle: Puzzle) -> Trajectory | None:
    """Returns the searcher's trajectory on `puzzle`, None if it finds no answer."""
    written = write(puzzle)
    if written is None:
        return None
    text, answer = written
    return Trajectory(puzzle.question, text, answer, claimed=answer)


def annotate(given: Trajectory) -> Annotated:
    """Returns one of the searcher's trajectories with its components.

    Raises:
        Dropped: the searcher did not write the trajectory.
    """
    puzzle = _puzzle_of(given)
    components: list[Component] = []
    needed: frozenset[int] = frozenset()
    reached = True
    for announcement, group in zip(announcements(puzzle), openings(puzzle), strict=True):
        head = Component(len(components) + 1, plan=announcement, parents=needed)
        components.append(head)
        hit = False
        for opening in group:
            work = search(opening, puzzle.target)
            components.append(
                Component(
                    number=len(components) + 1,
                    prompt=opening.task,
                    execution=work.text,
                    parents=frozenset({head.number}),
                    visited=reached,
                )
            )
            hit = hit or work.expression is not None
            reached = not hit
        if hit:
            break
        needed = frozenset(component.number for component in components[head.number :])
    return Annotated(given, tuple(components))


def _puzzle_of(given: Trajectory) -> Puzzle:
    """Returns the puzzle of a trajectory that the searcher wrote."""
    try:
        puzzle = Puzzle.parse(given.question)
    except QuestionError as error:
        raise Dropped(Reason.UNREADABLE, str(error)) from error
    found = write(puzzle)
    if found is None or found[0].strip() != given.text.strip():
        raise Dropped(
            Reason.UNREADABLE, "the Countdown searcher writes another text on this puzzle"
        )
    return puzzle
