"""Programs in Monty's subset of Python."""

from __future__ import annotations

import os
from typing import Any

import anyio
import psutil
import pytest

from sprint_agent import ExecutorError, PromptError
from tests.poll import until
from tests.script import a_task, executed

pytest.importorskip("pydantic_monty", reason="the extra monty is not installed")

from sprint_agent.executors.monty import MontyExecutor

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def run(program: str, **more: Any) -> str:
    return await MontyExecutor(**more).execute(a_task(program))


@pytest.mark.parametrize("bound", ["seconds", "memory", "output"])
def test_bounds_must_be_positive(bound: str) -> None:
    with pytest.raises(ValueError, match=bound):
        MontyExecutor(**{bound: 0})  # type: ignore[arg-type]


async def test_the_printed_text_is_returned() -> None:
    assert await run("import math\nprint(math.factorial(20), 'é')") == "2432902008176640000 é\n"
    assert await run("```python\nprint(6 * 7)\n```") == "42\n"
    assert await run("x = 1") == "The program printed nothing."


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("print('so far')\n1 / 0", r"ZeroDivisionError: .*; it printed: so far"),
        ("def f(:", "the program failed"),
        ("import subprocess", "ModuleNotFoundError"),
        ("x = 'a' * 10**9", "MemoryError"),
        ("def f(): return f()\nf()", "RecursionError"),
    ],
)
async def test_a_program_that_fails(program: str, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        await run(program)


@pytest.mark.parametrize("program", ["while True: pass", "import time\nwhile True: time.sleep(1)"])
async def test_time_is_bounded_and_nothing_remains(program: str) -> None:
    with pytest.raises(PromptError, match=r"longer than 0.3 s|time limit exceeded"):
        await run(program, seconds=0.3)
    assert _workers() == []


async def test_output_is_bounded() -> None:
    assert await run("print('x' * 1000)", output=10) == "x" * 10 + "\n[991 more left out]"
    (execution,) = await executed(
        MontyExecutor(output=50_000), tasks=[("python", "print('x' * 49999)")]
    )
    assert len(execution.text) == 50_000


async def test_cancelling_ends_the_program() -> None:
    with anyio.move_on_after(0.3):
        await run("while True: pass", seconds=600)
    await until(lambda: not _workers())


@pytest.mark.parametrize(
    "attack",
    [
        "open('/etc/passwd').read()",
        "open('mine', 'w')",
        "import os\nos.listdir('/')",
        "import os\nos.environ['PATH']",
        "import os\nos.getenv('PATH').upper()",
        "import os\nos.fork()",
        "import os\nos.kill(1, 9)",
        "import socket",
        "import ctypes",
        "import threading",
        "from pathlib import Path\nPath('/etc/passwd').read_text()",
        "__import__('subprocess')",
        "().__class__.__base__.__subclasses__()",
        "print.__globals__",
        "eval('1')\nimport sys\nsys.modules['os'].system('true')",
    ],
)
async def test_there_is_nothing_to_attack(attack: str) -> None:
    with pytest.raises(PromptError, match="the program failed"):
        await run(attack)


async def test_several_programs_run_in_parallel() -> None:
    tasks = [("python", f"print({n})") for n in range(3)]
    executions = await executed(MontyExecutor(), tasks=tasks)
    assert [e.text for e in executions] == ["0\n", "1\n", "2\n"]


def _workers() -> list[str]:
    return [p.name() for p in psutil.Process(os.getpid()).children() if "monty" in p.name()]


def test_it_needs_asyncio() -> None:
    async def under_trio() -> None:
        with pytest.raises(ExecutorError, match="needs asyncio"):
            await run("print(1)")

    anyio.run(under_trio, backend="trio")


async def test_an_interpreter_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONTY_BIN", "/no/such/monty")
    with pytest.raises(ExecutorError, match="Monty cannot be started"):
        await run("print(1)")
