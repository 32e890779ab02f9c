"""When a stage ends: after all of its executions, or at the first one that a check accepts.

On search problems, the second brings most of the speed-up: an execution that finds the answer need not
wait for those that do not. The executions that are still running are cancelled, down to the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sprint_agent.result import Execution

Check = Callable[[Execution], bool | str]
"""Whether to accept an execution. A string accepts it too, and says what was found in it."""


@dataclass(frozen=True, slots=True)
class FirstSuccess:
    """A stage ends at the first execution that is done and that `check` accepts."""

    check: Check

    def verdict(self, execution: Execution) -> str | None:
        """Returns the remark of the check if it accepts `execution`, "" if it has none, else None.

        The check is not called for an execution that failed or was stopped: that is never accepted.
        """
        if execution.status != "done":
            return None
        decision = self.check(execution)
        if isinstance(decision, str):
            return decision
        return "" if decision else None


Join = Literal["all"] | FirstSuccess


def first_success(check: Check) -> FirstSuccess:
    """Returns the join policy that ends a stage at the first execution that `check` accepts.

    `check` is called once for each execution that is done, in the order in which they end. It must be
    quick, because it runs between two tokens. An error that it raises ends the run. If it returns a
    string, even an empty one, it accepts the execution, and the planner reads that string at the end of
    the stage: the report of a test, for example, or the answer that was verified.
    """
    return FirstSuccess(check)
