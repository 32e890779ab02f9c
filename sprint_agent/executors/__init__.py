"""Executors work on prompts: the model itself by default, or a function, a program, a nested run.

    @executor
    async def search(query: str) -> str:
        '''Looks something up.'''
        ...

    Sprint(engine, executors=[search, PythonExecutor(), NestedExecutor()])

To use it, the planner writes `<prompt_1.2 executor="search"> … </prompt_1.2>`. A prompt without a
name goes to the model. `sprint_agent.executors.http` has `HttpExecutor`, which needs the extra
`http`, and `sprint_agent.executors.monty` has `MontyExecutor`, which needs the extra `monty`.
"""

from sprint_agent.executors.functions import FunctionExecutor, executor, tool
from sprint_agent.executors.nested import NestedExecutor
from sprint_agent.executors.policy import Policy, with_policy
from sprint_agent.executors.python.confinement import Confinement
from sprint_agent.executors.python.executor import PythonExecutor
from sprint_agent.runtime.router import MODEL, ModelExecutor
from sprint_agent.task import Executor, Generation, JsonSchema, Remaining, Task

__all__ = [
    "MODEL",
    "Confinement",
    "Executor",
    "FunctionExecutor",
    "Generation",
    "JsonSchema",
    "ModelExecutor",
    "NestedExecutor",
    "Policy",
    "PythonExecutor",
    "Remaining",
    "Task",
    "executor",
    "tool",
    "with_policy",
]
