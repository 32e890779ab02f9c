"""The same graph in plain asyncio, in LangGraph and in our loop, on the same simulated engine."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from benchmarks.simulated import QUESTION, TimedEngine
from sprint_agent import Sprint
from sprint_agent.engine import Delta, Request
from sprint_agent.protocol import tags
from sprint_agent.runtime.scope import Dispatch

RunOnce = Callable[[], Coroutine[Any, Any, object]]
"""Makes one run, from the question to the answer. Any number of calls may be concurrent."""
Method = Callable[[TimedEngine], RunOnce]
"""Builds the graph of an engine once, and returns what makes runs of it."""


def plain(engine: TimedEngine) -> RunOnce:
    """The floor: task groups and nothing else. No context, no parsing, no events, no limits."""

    async def run() -> str:
        tail = tags.opening(QUESTION)
        for stage in range(1, engine.graph.stages + 1):
            await _read(engine, tail)
            async with asyncio.TaskGroup() as group:
                for number in range(1, engine.graph.executors + 1):
                    opening = tags.execution_opening(stage, number)
                    group.create_task(_read(engine, opening))
            tail = f"</Execution_{stage}>\n\n"
        return await _read(engine, tail)

    return run


class _State(TypedDict):
    stage: int
    answer: str
    executions: Annotated[list[str], operator.add]


class _Part(TypedDict):
    stage: int
    number: int


def lang_graph(engine: TimedEngine) -> RunOnce:
    """LangGraph as its guide does it: a planner node that sends each prompt to an executor node."""
    stages = engine.graph.stages

    async def plan(state: _State) -> dict[str, Any]:
        stage = state["stage"] + 1
        tail = f"</Execution_{stage - 1}>\n\n" if stage > 1 else tags.opening(QUESTION)
        return {"stage": stage, "answer": await _read(engine, tail)}

    async def execute(state: _Part) -> dict[str, Any]:
        opening = tags.execution_opening(state["stage"], state["number"])
        return {"executions": [await _read(engine, opening)]}

    def send_prompts(state: _State) -> list[Send] | str:
        stage = state["stage"]
        if stage > stages:
            return END
        numbers = range(1, engine.graph.executors + 1)
        return [Send("execute", {"stage": stage, "number": number}) for number in numbers]

    builder = StateGraph(_State)
    builder.add_node("plan", plan)
    builder.add_node("execute", execute)
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", send_prompts, ["execute", END])
    builder.add_edge("execute", "plan")
    graph = builder.compile()

    async def run() -> str:
        state = await graph.ainvoke({"stage": 0, "answer": "", "executions": []})
        return state["answer"]

    return run


def ours(dispatch: Dispatch) -> Method:
    """Our complete loop: context, parsing, events, limits and the token ledger."""

    def method(engine: TimedEngine) -> RunOnce:
        agent = Sprint(engine, dispatch=dispatch)

        async def run() -> str | None:
            return (await agent.solve(QUESTION)).answer

        return run

    return method


def watched(engine: TimedEngine) -> RunOnce:
    """Our loop, with a caller that reads all of its events."""
    agent = Sprint(engine, dispatch="stage")

    async def run() -> None:
        async with agent.stream(QUESTION) as events:
            async for _ in events:
                pass

    return run


async def _read(engine: TimedEngine, tail: str) -> str:
    """Reads the reply to a prompt that ends in `tail`."""
    prompt = tuple(engine.tokenizer.encode(tail))
    async with engine.generate(Request(prompt)) as stream:
        return "".join([event.text async for event in stream if isinstance(event, Delta)])
