"""Your own executors: one that works, one that raises, and the model beside them.

    python examples/executors.py

Runs without a model: a ScriptedEngine says what a planner might. Put an engine of your own in its
place (`Sprint("http://127.0.0.1:30000", …)`), and the rest stays as it is.
"""

from __future__ import annotations

import anyio

from sprint_agent import Result, Sprint, executor
from sprint_agent.testing import ScriptedEngine

PLAN = """<Plan_1>
Three things are needed, and none needs another.
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
    await anyio.sleep(0.05)  # as a database or an API would take
    return f"{POPULATIONS[city]:,} people live in {city}."


@executor
async def weather(city: str) -> str:
    """Asks a weather service, which is down today."""
    raise ConnectionError(f"the weather service does not answer for {city}")


def planner(context: str) -> str:
    """What a planner writes; with a real model, this is the model's part."""
    if context.endswith("<execution_1.3>\n"):
        return "The metro goes there in half an hour.\n</execution_1.3>"
    if "<Execution_1>" not in context:
        return PLAN
    weather_failed = "Failed: ConnectionError" in context
    rest = "the weather is not to be had" if weather_failed else "the weather is known"
    return f"<Final_answer>\n\\boxed{{548,703 people, a metro, and {rest}}}\n</Final_answer>"


async def main() -> Result:
    """Solves one question and prints what became of each prompt."""
    async with Sprint(ScriptedEngine(planner), executors=[population, weather]) as agent:
        result = await agent.solve("What should I know about Lisbon?")
    for execution in result.stages[0].executions:
        print(f"{execution.executor:<10} {execution.status:<7} {execution.text.strip()}")
    print(f"answer     {result.answer}")
    return result


if __name__ == "__main__":
    anyio.run(main)
