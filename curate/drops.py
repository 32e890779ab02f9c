"""Why a trajectory is left out of the data. None is left out silently, and none is mended."""

from __future__ import annotations

from enum import StrEnum

from sprint_agent.protocol.context import replace_surrogates


class Reason(StrEnum):
    """The reasons, as they stand in `dropped.jsonl` and in the report."""

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
    MALFORMED = "answer is not the JSON asked for"
    # What an annotation must hold to.
    OVERLAP = "sentence in two components"
    MISSING = "sentence in no component"
    UNKNOWN_SENTENCE = "sentence that there is not"
    DISORDER = "components out of order"
    BAD_COMPONENT = "component without a role"
    NOT_IN_GRAPH = "component missing from the graph"
    UNKNOWN_PARENT = "parent that there is not"
    CYCLE = "edge that does not point backwards"
    LEAK = "uses what a sibling found"
    # Selection.
    RATIO = "not parallel enough"
    STAGES = "too many stages"
    LENGTH = "too long"
    DUPLICATE = "another trajectory on its question is better"


class Dropped(Exception):
    """A trajectory is left out, for `reason`; `detail` says what exactly was wrong with it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        # It may be in the words of a model or a server, and has to be kept in any case.
        detail = replace_surrogates(detail)
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
