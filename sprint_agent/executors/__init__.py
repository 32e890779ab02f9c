"""Executors: who works on a prompt. The model itself by default, or a tool, or any coroutine.

    @executor
    async def search(prompt: str) -> str:
        '''Looks something up.'''
        ...

    Sprint(engine, executors=[search, PythonExecutor(), NestedExecutor()])

The planner writes `<prompt_1.2 executor="search"> … </prompt_1.2>` for it; a prompt without a name
goes to the model. `sprint_agent.executors.http` has one more, which needs the extra `http`.
"""

from sprint_agent.executors.functions import FunctionExecutor, executor, tool
from sprint_agent.executors.nested import NestedExecutor
from sprint_agent.executors.policy import Policy, with_policy
from sprint_agent.executors.python.executor import PythonExecutor
from sprint_agent.runtime.router import MODEL, ModelExecutor, Router
from sprint_agent.task import (
    Executor,
    Generation,
    JsonSchema,
    Nested,
    Remaining,
    RunHandle,
    Task,
    TaskLogger,
)

__all__ = [
    "MODEL",
    "Executor",
    "FunctionExecutor",
    "Generation",
    "JsonSchema",
    "ModelExecutor",
    "Nested",
    "NestedExecutor",
    "Policy",
    "PythonExecutor",
    "Remaining",
    "Router",
    "RunHandle",
    "Task",
    "TaskLogger",
    "executor",
    "tool",
    "with_policy",
]
