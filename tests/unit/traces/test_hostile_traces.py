"""Traces that were edited or damaged: they are read, or end in a TraceError, never in another error."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
from pathlib import Path
from typing import Any

import anyio
import pytest

from sprint_agent import Limits, NestedExecutor, Sprint, SprintError, Trace, TraceError
from sprint_agent.cli.view import RunView
from sprint_agent.testing import ScriptedEngine
from sprint_agent.traces.replay import TraceEngine
from sprint_agent.traces.resume import ResumedRun
from tests.script import answer, continuing, plan

pytestmark = pytest.mark.anyio
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    10**30,
    1.5,
    "",
    "x",
    "\ud83d",
    [],
    {},
    [[1]],
    {"a": "b"},
    [None],
    "tokens",
]


def script(prompt: str) -> str:
    if "<Question>\nharder" in prompt:
        if "</Execution_1>" in prompt:
            return answer("7")
        return "seven\n</execution_1.1>" if prompt.endswith("_1.1>\n") else plan("think")
    if prompt.endswith("_1.2>\n"):
        return "hit 5\n</execution_1.2>"
    return answer("5") if "</Execution_1>" in prompt else plan("solve: harder", "look")


def agent() -> Sprint:
    executors = [NestedExecutor()]
    return Sprint(
        ScriptedEngine(continuing(script)), executors=executors, limits=Limits(deadline=10)
    )


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("trace") / "run.jsonl"

    async def record() -> None:
        await agent().solve("What?", trace=path)

    anyio.run(record)
    return [json.loads(line) for line in path.read_text().splitlines()]


def mutated(records: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    """Returns the records of a trace with one to three changes."""
    records = copy.deepcopy(records)
    if chance.random() < 0.5:
        # Without its end, the run is resumed.
        del records[chance.randrange(2, len(records)) :]
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(1, len(records))
        match chance.randrange(5):
            case 0:
                del records[at]
            case 1:
                records.insert(chance.randrange(1, len(records)), copy.deepcopy(records[at]))
            case 2:
                other = chance.randrange(1, len(records))
                records[at], records[other] = records[other], records[at]
            case _:
                change(records[at], chance)
        if len(records) < 2:
            break
    return records


def change(value: Any, chance: random.Random) -> None:
    """Changes, removes or renames one thing somewhere inside of a JSON value."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = chance.choice(keys)
        inner = value[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.7:
            value = inner
            continue
        match chance.randrange(6):
            case 0:
                del value[key]
            case 1 if isinstance(value, dict):
                value[chance.choice(["x", "event", "path", "at", "call"])] = value.pop(key)
            case _:
                value[key] = chance.choice(VALUES)
        return


async def use(path: Path) -> None:
    """Does with a trace whatever can be done with one."""
    trace = Trace.read(path)
    _ = trace.question, trace.result, trace.error, trace.seconds, list(trace.calls())
    TraceEngine(trace)
    ResumedRun(trace)
    view = RunView()
    for event in trace.events:
        view.feed(event)


@pytest.mark.parametrize("seed", range(12))
async def test_a_changed_trace_is_used_or_refused(
    records: list[dict[str, Any]], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    path = tmp_path / "run.jsonl"
    for _ in range(40):
        lines = [json.dumps(record) for record in mutated(records, chance)]
        path.write_text("\n".join(lines) + "\n")
        for attempt in (use, agent().resume):
            with contextlib.suppress(SprintError):
                await attempt(path)


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "RunStarted", "at": 0.0, "question": ' + "[" * 100_000,
        '{"event": "RunStarted", "at": 0.0, "question": "\\ud83d"}',
        '{"event": "PlanText", "at": NaN, "stage": 1, "text": "", "ids": [], "call": 1}',
        '{"event": "PlanText", "at": 1e999, "stage": 1, "text": "", "ids": [], "call": 1}',
        '{"event": ["RunStarted"]}',
        "\x00",
        "\xff",
    ],
)
def test_lines_that_no_recorder_writes(line: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b'{"trace": 3}\n' + line.encode("latin-1") + b"\n")
    with pytest.raises(TraceError, match=r"run.jsonl, line 2: "):
        Trace.read(path)


class TestFiles:
    async def test_only_its_owner_can_read_a_trace(self, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        before = os.umask(0)
        try:
            await agent().solve("What?", trace=path)
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o777 == 0o600

    async def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        victim, link = tmp_path / "victim", tmp_path / "run.jsonl"
        victim.write_text("precious")
        link.symlink_to(victim)
        with pytest.raises(TraceError, match="it is a symbolic link, which is not followed"):
            await agent().solve("What?", trace=link)
        with pytest.raises(TraceError, match="it is a symbolic link, which is not followed"):
            await agent().resume(link)
        assert victim.read_text() == "precious"

    @pytest.mark.parametrize("path", ["a\0b", "a" * 5000])
    async def test_a_path_that_no_file_can_have(self, path: str) -> None:
        with pytest.raises(TraceError):
            await agent().solve("What?", trace=path)
        with pytest.raises(TraceError):
            Trace.read(path)
