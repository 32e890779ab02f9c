"""When a stage ends: after all of its executions, or at the first that a check accepts.

On search the second is where most of the gain lies: what finds the answer need not wait for what
does not. The executions that are still running are cancelled, down to the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sprint_agent.result import Execution


@dataclass(frozen=True, slots=True)
class FirstSuccess:
    """A stage ends at the first execution that is done and that `check` accepts."""

    check: Callable[[Execution], bool]

    def ends(self, execution: Execution) -> bool:
        """Whether `execution` ends its stage."""
        return execution.status == "done" and self.check(execution)


Join = Literal["all"] | FirstSuccess


def first_success(check: Callable[[Execution], bool]) -> FirstSuccess:
    """The join policy that ends a stage at the first execution that `check` accepts.

    `check` is called once for each execution that is done, in the order in which they are, and must
    be quick: it runs between two tokens. What it raises ends the run.
    """
    return FirstSuccess(check)
