"""What an earlier part of a run did, as a resumed run asks for it.

The runtime knows this protocol alone. `traces.resume` implements it from a trace.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

from sprint_agent.engine import Delta, Finish
from sprint_agent.events import Event
from sprint_agent.protocol.context import Snapshot
from sprint_agent.result import Execution, Prompt, Result, Stage


def digest(context: Snapshot) -> str:
    """Returns what identifies the prompt of a call in a trace."""
    return hashlib.blake2b(context.text.encode(), digest_size=12).hexdigest()


@dataclass(slots=True)
class RecordedCall:
    """A call of the engine.

    Without `finish` and `error`, the reader left the call early or the process ended during it.
    """

    number: int
    prompt: str
    """The digest of the text that the call continued."""
    deltas: list[Delta]
    finish: Finish | None = None
    error: str | None = None
    left: bool = False
    """Whether the reader left the call early."""


@dataclass(frozen=True, slots=True)
class RecordedExecution:
    """An execution that ended, and what it reported."""

    execution: Execution
    events: tuple[Event, ...]
    executions: int
    """How many executions began in its nested runs."""


class Recorded(Protocol):
    """What an earlier part of this run did."""

    @property
    def seconds(self) -> float:
        """How long that part took."""
        ...

    @property
    def last_call(self) -> int:
        """The highest number of a call of this run, without its nested runs. 0 if there is none."""
        ...

    def call(self, stage: int, number: int | None, prompt: str) -> RecordedCall | None:
        """Returns the next call that the planner (None) or an execution made with this prompt."""
        ...

    def execution(self, stage: int, prompt: Prompt) -> RecordedExecution | None:
        """Returns the execution of this very prompt if it ended."""
        ...

    def stage(self, number: int) -> Stage | None:
        """Returns the stage if it ended, unless the planner has planned it again since."""
        ...

    def nested(self, stage: int, number: int, question: str) -> RecordedRun | None:
        """Returns the next nested run in which this execution solved the question."""
        ...

    def nested_runs(self, stage: int, number: int) -> int:
        """Returns how many nested runs the execution began."""
        ...


class RecordedRun(Recorded, Protocol):
    """A nested run."""

    @property
    def run(self) -> int:
        """Which of its execution's nested runs it was, from 1."""
        ...

    @property
    def result(self) -> Result | None:
        """The result of the run if it ended."""
        ...

    @property
    def events(self) -> tuple[Event, ...]:
        """Everything that the run reported."""
        ...

    @property
    def executions(self) -> int:
        """How many executions began in it and in its nested runs."""
        ...
