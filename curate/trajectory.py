"""What curation works on: a trajectory, and the components that an annotator found in it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A chain of thought as it was written, in sequence, and the answer to its question."""

    question: str
    text: str
    answer: str
    """The reference answer."""
    source: str = ""
    """The place that it was read from, such as "part.jsonl:17" (the line).

    "part.jsonl:17#2" is the second of several trajectories on one question.
    """
    claimed: str = ""
    """The answer that the trajectory itself gives, "" if it gives none."""
    verdict: bool | None = None
    """Whether the dataset says that the claimed answer is right. None if it does not say."""

    @property
    def key(self) -> str:
        """A digest of its texts, which identifies the trajectory on every machine."""
        return _digest(self.question, self.text)

    @property
    def question_key(self) -> str:
        """A digest of its question, the same for all trajectories on it. White space is ignored."""
        return _digest(" ".join(self.question.split()))


@dataclass(frozen=True, slots=True)
class Component:
    """One step of a trajectory."""

    number: int
    """Counts from 1, in the order of the text."""
    plan: str = ""
    """The thought that decides what to do."""
    prompt: str = ""
    """The task for an executor, in the annotator's words. "" if the step has no execution."""
    execution: str = ""
    """The work on that task."""
    comment: str = ""
    """What the trajectory says about the outcome of the execution."""
    description: str = ""
    parents: frozenset[int] = frozenset()
    """The numbers of the steps whose outcome this one needs. All are smaller than its own."""
    visited: bool = True
    """False if the trajectory announced the step but ended its search before it reached it.

    The execution is then what an executor would have written.
    """


@dataclass(frozen=True, slots=True)
class Annotated:
    """A trajectory with its components, in the order of the text."""

    trajectory: Trajectory
    components: tuple[Component, ...]


def _digest(*texts: str) -> str:
    # JSON can contain an unpaired surrogate, which has no UTF-8 encoding.
    data = b"\0".join(text.encode("utf-8", "surrogatepass") for text in texts)
    return hashlib.sha256(data).hexdigest()[:24]
