"""An executor that fails on request, and a run of one execution."""

from __future__ import annotations

from collections import Counter

import anyio.lowlevel

from sprint_agent import Execution, Executor, Task
from tests.script import executed


class Works:
    """Raises the given errors one after another, then answers. It counts its calls."""

    description = "Works."
    schema = None

    def __init__(self, *errors: Exception, name: str = "works") -> None:
        self.name = name
        self.errors = list(errors)
        self.calls: Counter[str] = Counter()
        self.running = self.most = 0

    async def execute(self, task: Task) -> str:
        self.calls[task.prompt] += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await anyio.lowlevel.checkpoint()
            if self.errors:
                raise self.errors.pop(0)
            return f"{self.name}: {task.prompt}"
        finally:
            self.running -= 1


async def one(made: Executor, text: str = "x") -> Execution:
    (execution,) = await executed(made, tasks=[(made.name, text)])
    return execution
