"""Executors with named arguments, programs and nested runs.

    python examples/tools.py

This example needs the extra `tools` (pydantic). It runs without a model: a ScriptedEngine writes
what a planner might write.
"""

from __future__ import annotations

from typing import Annotated

import anyio
from pydantic import Field

from sprint_agent import NestedExecutor, Policy, PythonExecutor, Result, Sprint, executor
from sprint_agent.testing import ScriptedEngine

PLAN = """<Plan_1>
<prompt_1.1 executor="distance"> {"start": "Lisbon", "end": "Porto"} </prompt_1.1>
-----
<prompt_1.2 executor="python"> print(sum(n * n for n in range(1, 101))) </prompt_1.2>
-----
<prompt_1.3 executor="solve"> What is 6 times 7, and 8 times 9? </prompt_1.3>
</Plan_1>"""
INNER_PLAN = """<Plan_1>
<prompt_1.1> 6 times 7 </prompt_1.1>
-----
<prompt_1.2> 8 times 9 </prompt_1.2>
</Plan_1>"""


@executor(policy=Policy(timeout=5, retries=2, concurrency=8, pure=True))
async def distance(
    start: Annotated[str, Field(description="a city")], end: str, unit: str = "km"
) -> str:
    """Returns the distance of two cities by road."""
    return f"{start} to {end}: 313 {unit}"  # a map service would compute it


def planner(context: str) -> str:
    """Returns what the model writes, in the outer and in the nested run."""
    inside = context.startswith("<Question>\nWhat is 6")
    if context.endswith("<execution_1.1>\n"):
        return "42\n</execution_1.1>"
    if context.endswith("<execution_1.2>\n"):
        return "72\n</execution_1.2>"
    if "<Execution_1>" not in context:
        return INNER_PLAN if inside else PLAN
    answer = "42 and 72" if inside else "313 km, 338350, 42 and 72"
    return f"<Final_answer>\n\\boxed{{{answer}}}\n</Final_answer>"


async def main() -> Result:
    """Solves one question and prints each execution."""
    print(f"{distance.name}: {distance.description} {distance.schema}")
    executors = [distance, PythonExecutor(seconds=5), NestedExecutor()]
    async with Sprint(ScriptedEngine(planner), executors=executors) as agent:
        result = await agent.solve("Several things at once?")
    for execution in result.stages[0].executions:
        print(f"{execution.executor:<10} {execution.status:<7} {execution.text.strip()}")
    print(f"answer     {result.answer}")
    return result


if __name__ == "__main__":
    anyio.run(main)
