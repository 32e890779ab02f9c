"""What curation works on: a trajectory, and the components that an annotator found in it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A chain of thought as it was written, in sequence, and the answer that it came to."""

    question: str
    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class Component:
    """One step of a trajectory.

    `number` counts from 1 in the order of the text. `plan` is thought that decides, `prompt` the task
    that it hands on in the annotator's words ("" for a step that hands nothing on), `execution` the
    work on that task. `parents` are the numbers of the steps whose outcome it needs, all smaller.
    A step with `visited` false was announced by the trajectory but not reached: the search had ended
    before. Its execution is what an executor would have written.
    """

    number: int
    plan: str = ""
    prompt: str = ""
    execution: str = ""
    parents: frozenset[int] = frozenset()
    visited: bool = True


@dataclass(frozen=True, slots=True)
class Annotated:
    """A trajectory with its components, in the order of the text."""

    trajectory: Trajectory
    components: tuple[Component, ...]
