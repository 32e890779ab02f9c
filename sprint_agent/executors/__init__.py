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
from sprint_agent.runtime.router import MODEL, ModelExecutor, Routing
from sprint_agent.task import Executor, Generated, JsonSchema, Left, Nested, Task, TaskLogger, Work

__all__ = [
    "MODEL",
    "Executor",
    "FunctionExecutor",
    "Generated",
    "JsonSchema",
    "Left",
    "ModelExecutor",
    "Nested",
    "NestedExecutor",
    "Policy",
    "PythonExecutor",
    "Routing",
    "Task",
    "TaskLogger",
    "Work",
    "executor",
    "tool",
    "with_policy",
]
