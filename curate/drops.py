"""Why a trajectory is left out of the data.

Every trajectory that is left out has a reason. None is left out silently, and none is repaired.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from curate.trajectory import Trajectory
from sprint_agent.protocol.context import replace_surrogates

Step = Literal["read", "grade", "annotate", "pack", "select"]
"""The step of the curation at which a trajectory was left out."""


class Reason(StrEnum):
    """The reasons, as they are written in `dropped.jsonl` and in the report."""

    # Reading and grading.
    UNREADABLE = "unreadable record"
    EMPTY = "no trajectory"
    WRONG = "wrong answer"
    UNGRADED = "answer could not be checked"
    # The endpoint.
    BUSY = "endpoint was too busy"
    FAILED = "endpoint failed"
    REJECTED = "endpoint rejected the request"
    REFUSED = "model refused"
    TRUNCATED = "answer was cut off"
    MALFORMED = "answer is not the requested JSON"
    # The rules for an annotation.
    OVERLAP = "sentence in two components"
    MISSING = "sentence in no component"
    UNKNOWN_SENTENCE = "unknown sentence number"
    DISORDER = "components out of order"
    BAD_COMPONENT = "component without a role"
    NOT_IN_GRAPH = "component missing from the graph"
    UNKNOWN_PARENT = "unknown parent"
    CYCLE = "dependency on a later step"
    LEAK = "uses a sibling's result"
    # Selection.
    RATIO = "not parallel enough"
    STAGES = "too many stages"
    LENGTH = "too long"
    DUPLICATE = "better trajectory on the same question"


class Dropped(Exception):
    """A trajectory is left out, for `reason`. `detail` says exactly what was wrong with it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        # A model or a server may have written the detail, and it must be encodable as UTF-8.
        detail = replace_surrogates(detail)
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class SkippedRecord:
    """A record of a source, or one of its trajectories, that cannot be used."""

    source: str
    """The place that it was read from, such as `part.jsonl:17`."""
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class DroppedRecord:
    """A line of `dropped.jsonl`: which trajectory was left out, at which step, and why."""

    source: str
    question: str
    """Empty for a record that could not be read."""
    step: Step
    reason: Reason
    detail: str

    @classmethod
    def of(cls, given: Trajectory, step: Step, why: Dropped) -> DroppedRecord:
        """Returns the line for a trajectory that was dropped."""
        return cls(given.source, given.question, step, why.reason, why.detail)

    @classmethod
    def of_skipped(cls, record: SkippedRecord) -> DroppedRecord:
        """Returns the line for a record that could not be read."""
        return cls(record.source, "", "read", record.reason, record.detail)
