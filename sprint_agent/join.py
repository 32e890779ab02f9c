"""When a stage ends: after all of its executions, or at the first one that a check accepts.

On search problems, the second brings most of the speed-up: an execution that finds the answer need not
wait for those that do not. The executions that are still running are cancelled, down to the engine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from sprint_agent.result import Execution

Decision = bool | str | None
"""Whether to accept an execution. A string accepts it too, and says what was found in it."""
Check = Callable[[Execution], Decision | Awaitable[Decision]]
"""Decides about an execution. It may be async."""


@dataclass(frozen=True, slots=True)
class FirstSuccess:
    """A stage ends at the first execution that is done and that `check` accepts."""

    check: Check

    def verdict(self, execution: Execution) -> str | Awaitable[object] | None:
        """Returns the remark of the check if it accepts `execution`, "" if it has none, else None.

        If the check is async, this returns what to await: `remark_of` reads what comes of it. The
        check is not called for an execution that failed or was stopped: that is never accepted.

        Raises:
            TypeError: the check returned neither a bool, nor a string, nor None.
        """
        if execution.status != "done":
            return None
        decision = self.check(execution)
        return decision if isinstance(decision, Awaitable) else remark_of(decision)


def remark_of(decision: object) -> str | None:
    """Returns the remark of a check that accepts an execution, "" if it has none, else None.

    Raises:
        TypeError: the decision is neither a bool, nor a string, nor None.
    """
    if isinstance(decision, str):
        return decision
    if decision is None or isinstance(decision, bool):
        return "" if decision else None
    raise TypeError(
        f"the check of first_success returned {type(decision).__name__}: return True or a string "
        "to accept an execution, and False or None if not"
    )


Join = Literal["all"] | FirstSuccess


def first_success(check: Check) -> FirstSuccess:
    """Returns the join policy that ends a stage at the first execution that `check` accepts.

    `check` is called once for each execution that is done, in the order in which they end. It may be
    async. If not, it must be quick, because it runs between two tokens. An error that it raises ends
    the run, and so does a return value that is neither a bool, a string nor None. If it returns a
    string, even an empty one, it accepts the execution, and the planner reads that string at the end of
    the stage: the report of a test, for example, or the answer that was verified.
    """
    return FirstSuccess(check)
