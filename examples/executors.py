"""Your own executors: one that succeeds, one that raises, and the model.

    python examples/executors.py

This example runs without a model: a ScriptedEngine writes what a planner might write. To use a
model, replace it with an engine (`Sprint("http://127.0.0.1:30000", …)`). The rest stays the same.
"""

from __future__ import annotations

import anyio

from sprint_agent import Result, Sprint, executor
from sprint_agent.testing import ScriptedEngine

PLAN = """<Plan_1>
Three independent things are needed.
<prompt_1.1 executor="population"> Lisbon </prompt_1.1>
-----
<prompt_1.2 executor="weather"> Lisbon </prompt_1.2>
-----
<prompt_1.3> Say how a visitor gets from the airport to the centre. </prompt_1.3>
</Plan_1>"""
POPULATIONS = {"Lisbon": 548_703, "Porto": 231_800}


@executor
async def population(city: str) -> str:
    """Looks up how many people live in a city."""
    await anyio.sleep(0.05)  # a database or an API would take some time
    return f"{POPULATIONS[city]:,} people live in {city}."


@executor
async def weather(city: str) -> str:
    """Asks a weather service, which is unavailable today."""
    raise ConnectionError(f"the weather service does not answer for {city}")


def planner(context: str) -> str:
    """Returns what the planner writes. With an engine, the model does this."""
    if context.endswith("<execution_1.3>\n"):
        return "The metro goes there in half an hour.\n</execution_1.3>"
    if "<Execution_1>" not in context:
        return PLAN
    weather_failed = "Failed: ConnectionError" in context
    rest = "the weather is unknown" if weather_failed else "the weather is known"
    return f"<Final_answer>\n\\boxed{{548,703 people, a metro, and {rest}}}\n</Final_answer>"


async def main() -> Result:
    """Calls one executor as a function, solves one question and prints each execution."""
    print(f"called     {await population('Porto')}")
    async with Sprint(ScriptedEngine(planner), executors=[population, weather]) as agent:
        result = await agent.solve("What should I know about Lisbon?")
    for execution in result.stages[0].executions:
        print(f"{execution.executor:<10} {execution.status:<7} {execution.text.strip()}")
    print(f"answer     {result.answer}")
    return result


if __name__ == "__main__":
    anyio.run(main)
