"""When a stage ends: after all of its executions, or at the first that a check accepts.

On search the second is where most of the gain lies: what finds the answer need not wait for what
does not. The executions that are still running are cancelled, down to the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sprint_agent.result import Execution

Check = Callable[[Execution], bool | str]
"""Whether an execution is what was looked for; a text accepts it, and says what was found in it."""


@dataclass(frozen=True, slots=True)
class FirstSuccess:
    """A stage ends at the first execution that is done and that `check` accepts."""

    check: Check

    def verdict(self, execution: Execution) -> str | None:
        """What the check says of an `execution` that ends its stage; None where it does not."""
        found = execution.status == "done" and self.check(execution)
        return found if isinstance(found, str) else "" if found else None


Join = Literal["all"] | FirstSuccess


def first_success(check: Check) -> FirstSuccess:
    """The join policy that ends a stage at the first execution that `check` accepts.

    `check` is called once for each execution that is done, in the order in which they are, and must
    be quick: it runs between two tokens. What it raises ends the run. Where it returns a text, be it
    empty, it accepts the execution, and the planner reads that text at the end of the stage: a test's
    report, or the answer that was verified.
    """
    return FirstSuccess(check)
