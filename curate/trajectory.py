"""What curation works on: a trajectory, and the components that an annotator found in it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A chain of thought as it was written, in sequence, and the answer to its question.

    `answer` is the reference answer, `claimed` what the trajectory says that the answer is ("" where it
    says nothing), and `verdict` what its dataset says of that: right, wrong, or nothing.
    `source` says where it was read, such as "part.jsonl:17" (the line), or "part.jsonl:17#2" for the
    second of several trajectories on one question.
    """

    question: str
    text: str
    answer: str
    source: str = ""
    claimed: str = ""
    verdict: bool | None = None

    @property
    def key(self) -> str:
        """What tells it from any other trajectory, on every machine: a digest of its texts."""
        return _digest(self.question, self.text)

    @property
    def question_key(self) -> str:
        """The same for all trajectories on one question, however it is spaced."""
        return _digest(" ".join(self.question.split()))


@dataclass(frozen=True, slots=True)
class Component:
    """One step of a trajectory.

    `number` counts from 1 in the order of the text. `plan` is thought that decides, `prompt` the task
    that it hands on in the annotator's words ("" for a step that hands nothing on), `execution` the
    work on that task, and `comment` what the trajectory says about its outcome. `parents` are the
    numbers of the steps whose outcome it needs, all smaller.
    A step with `visited` false was announced by the trajectory but not reached: the search had ended
    before. Its execution is what an executor would have written.
    """

    number: int
    plan: str = ""
    prompt: str = ""
    execution: str = ""
    comment: str = ""
    description: str = ""
    parents: frozenset[int] = frozenset()
    visited: bool = True


@dataclass(frozen=True, slots=True)
class Annotated:
    """A trajectory with its components, in the order of the text."""

    trajectory: Trajectory
    components: tuple[Component, ...]


def _digest(*texts: str) -> str:
    # Half a surrogate pair, which JSON can hold, has no UTF-8 of its own.
    data = b"\0".join(text.encode("utf-8", "surrogatepass") for text in texts)
    return hashlib.sha256(data).hexdigest()[:24]
