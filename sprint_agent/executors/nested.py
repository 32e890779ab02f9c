"""A nested run as an executor: it plans its prompt again and works on the parts in parallel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sprint_agent.errors import LimitReached
from sprint_agent.join import Join
from sprint_agent.limits import Limits
from sprint_agent.task import Executor, Task


@dataclass(frozen=True, slots=True)
class NestedExecutor:
    """Solves its prompt in a nested run and returns the answer.

    The nested run uses the engine of the outer run and stays within its limits. `Task.solve` says
    what else they share.
    """

    name: str = "solve"
    description: str = "Plans the task again and works on its parts in parallel."
    executors: Sequence[Executor] = ()
    """The executors of the nested run, in addition to the model."""
    limits: Limits = Limits()
    """Limits of the nested run alone, in addition to those of the outer run."""
    join: Join = "all"
    """When a stage of the nested run ends."""

    @property
    def schema(self) -> None:
        """None: the prompts are plain text."""

    async def execute(self, task: Task) -> str:
        """Returns the answer of the nested run.

        Raises:
            LimitReached: a limit ended the nested run before it had an answer.
        """
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
