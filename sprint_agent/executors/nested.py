"""A whole run as executor: the task is planned anew, and its parts are worked on side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sprint_agent.errors import LimitReached
from sprint_agent.join import Join
from sprint_agent.limits import Limits
from sprint_agent.task import Executor, Task


@dataclass(frozen=True, slots=True)
class NestedExecutor:
    """Solves its prompt in a run of its own, on the engine and within the limits of the run around.

    `executors` are those of the nested run, beside the model; `limits` bound it further. Its answer
    is the execution's text. See `Task.solve` for what it shares.
    """

    name: str = "solve"
    description: str = "Plans the task anew and works on its parts side by side."
    executors: Sequence[Executor] = ()
    limits: Limits = Limits()
    join: Join = "all"

    @property
    def schema(self) -> None:
        """None: its prompts are plain text."""

    async def execute(self, task: Task) -> str:
        """The answer of the nested run. Raises LimitReached where a limit ended it before."""
        result = await task.solve(
            task.prompt, executors=self.executors, limits=self.limits, join=self.join
        )
        if result.limit is not None or result.answer is None:
            raise LimitReached(
                f"the limit {result.limit} ended the nested run after {len(result.stages)} stages",
                limit=str(result.limit),
                result=result,
            )
        return result.answer
