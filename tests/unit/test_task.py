"""What a Task gives its executor: what is left of the limits, the model and a logger."""

from __future__ import annotations

import datetime
import decimal
import enum
import logging
from dataclasses import dataclass

import anyio
import msgspec
import pydantic
import pytest

from sprint_agent import Execution, Executor, Limits, Sprint, Task, executor
from sprint_agent.task import Generation, text_of
from sprint_agent.testing import Reply, ScriptedEngine
from tests.script import Scripted, answer, executed, plan

pytestmark = pytest.mark.anyio


async def one(made: Executor, text: str) -> Execution:
    (execution,) = await executed(made, tasks=[(made.name, text)])
    return execution


def test_the_text_of_an_outcome() -> None:
    assert text_of("a") == "a"
    assert text_of(Generation("b", (1,), "end")) == "b"


async def test_what_remains_falls_as_it_is_used() -> None:
    seen: list[tuple[float, int]] = []

    @executor
    async def asks(task: Task) -> str:
        text = ""
        for _ in range(2):
            left = task.remaining()
            assert left.seconds is not None
            assert left.tokens is not None
            seen.append((left.seconds, left.tokens))
            text = (await task.generate()).text
        return text

    limits = Limits(deadline=60, tokens=20_000)
    engine = ScriptedEngine(Scripted([plan("asks: x"), answer("3")]))
    # With "stage", the planner has ended: while it writes, its call reserves tokens.
    await Sprint(engine, executors=[asks], limits=limits, dispatch="stage").solve("What?")
    (first_seconds, first), (second_seconds, second) = seen
    assert 60 > first_seconds > second_seconds > 0
    assert first - second == len("did 1.1\n</execution_")


async def test_without_limits_nothing_is_bounded() -> None:
    @executor
    async def asks(task: Task) -> str:
        return repr(task.remaining())

    assert (await one(asks, "x")).text == "Remaining(seconds=None, tokens=None)"


async def test_the_logger_names_the_task(caplog: pytest.LogCaptureFixture) -> None:
    runs: list[str] = []

    @executor
    async def logs(task: Task) -> str:
        runs.append(task.run)
        task.logger.info("%d %% of %s", 50, task.prompt, extra={"mine": 1})
        return ""

    caplog.set_level(logging.INFO, "sprint_agent.executors")
    await executed(logs, tasks=[("logs", "a"), ("logs", "b")])
    run = runs[0]
    assert runs == [run, run]
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [f"[{run} 1.{n}] 50 % of {text}" for n, text in [(1, "a"), (2, "b")]]
    record = caplog.records[1]
    fields = [getattr(record, key) for key in ("run", "stage", "number", "mine")]
    assert fields == [run, 1, 2, 1]


@executor
async def twice(task: Task) -> str:
    async with anyio.create_task_group() as group:
        group.start_soon(task.generate)
        group.start_soon(task.generate)
    return "both"


async def test_parallel_calls_of_the_model_all_count() -> None:
    usage = (await one(twice, "x")).usage
    assert usage.completion_tokens == 2 * len("did 1.1\n</execution_")


async def test_the_text_of_a_call_that_never_ended_counts_too() -> None:
    replies: list[str | Reply] = [plan("twice: x"), Reply("never", hang=True), "did"]
    engine = ScriptedEngine(lambda context: replies.pop(0))
    agent = Sprint(engine, executors=[twice], limits=Limits(deadline=0.3), dispatch="stage")
    (stage,) = (await agent.solve("What?")).stages
    end = 1
    assert stage.executions[0].usage.completion_tokens == len("never") + len("did") + end


class Color(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: list[int]


class City(msgspec.Struct):
    name: str


class Model(pydantic.BaseModel):
    at: datetime.date
    inner: list[int] = []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        ("", ""),
        (7, "7"),
        (2**100, str(2**100)),
        (0.5, "0.5"),
        (True, "true"),
        (None, "null"),
        ([1, "é"], '[1, "é"]'),
        ((1, 2), "[1, 2]"),
        ({"a": {"b": None}}, '{"a": {"b": null}}'),
        ({1: 2}, '{"1": 2}'),
        (Point(1, [2]), '{"x": 1, "y": [2]}'),
        (City("Oslo"), '{"name": "Oslo"}'),
        (Model(at=datetime.date(2026, 1, 2)), '{"at": "2026-01-02", "inner": []}'),
        ([Model(at=datetime.date(2026, 1, 2))], '[{"at": "2026-01-02", "inner": []}]'),
        ({"a": Point(1, [])}, '{"a": {"x": 1, "y": []}}'),
        (Color.RED, '"red"'),
        (decimal.Decimal("1.50"), '"1.50"'),
        (datetime.date(2026, 1, 2), '"2026-01-02"'),
    ],
)
def test_values_become_json(value: object, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize("value", [object(), print, Point, Model, [object()], {(1, 2): 3}])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match=r"cannot be written as JSON .*: return a string"):
        text_of(value)


def test_a_list_that_contains_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(TypeError, match="the executor returned list"):
        text_of(endless)
