"""Programs in a subset of Python, run by an interpreter that has nothing to attack.

    MontyExecutor(seconds=2)

Needs the extra `monty`. docs/sandbox.md compares it with PythonExecutor.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import anyio

from sprint_agent.errors import ExecutorError, PromptError
from sprint_agent.executors.python.program import program_of
from sprint_agent.extras import install_hint
from sprint_agent.task import Task

try:
    import pydantic_monty
except ImportError as _error:
    raise ImportError(
        f"the Monty executor needs pydantic-monty: {install_hint('monty')}"
    ) from _error

_TAIL_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class MontyExecutor:
    """Runs its prompt, a program in a subset of Python, and returns what it prints.

    The interpreter is Monty (pydantic-monty), in a separate process that takes about 3 ms to
    start. A program has no files, no network, no environment and no other modules than the few that
    Monty has: `math`, `json`, `re`, `datetime`, `random`, `itertools`, `collections` and others.
    This holds on every platform and in every container, because Monty has nothing else to offer.

    It needs asyncio.

    Raises:
        ValueError: a bound is not positive.
    """

    name: str = "python"
    description: str = (
        "Runs a Python program (no files, few modules: math, json, re, datetime, itertools, "
        "collections) and returns what it prints."
    )
    seconds: float = 10.0
    """The most seconds that the program may run."""
    memory: int = 128 * 1024 * 1024
    """The most bytes of the program's values."""
    output: int = 32_000
    """How many characters of the printed text are returned. The rest is left out."""

    def __post_init__(self) -> None:
        for name in ("seconds", "memory", "output"):
            if getattr(self, name) <= 0:
                raise ValueError(f"the limit {name} must be positive, not {getattr(self, name)}")

    @property
    def schema(self) -> None:
        """None: the prompts are plain text."""

    @property
    def max_characters(self) -> int:
        """Enough for `output` and the line that says how much was left out."""
        return self.output + 100

    async def execute(self, task: Task) -> str:
        """Returns what the program prints.

        Raises:
            PromptError: the program failed, took too long, or uses what Monty does not have.
            ExecutorError: the run is not on asyncio, or Monty cannot be started.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError as error:
            raise ExecutorError("the Monty executor needs asyncio: run the agent on it") from error
        printed = _Printed(self.output)
        try:
            with anyio.move_on_after(self.seconds):
                await self._run(program_of(task.prompt), printed)
                return printed.text() or "The program printed nothing."
        except pydantic_monty.MontyError as error:
            raise PromptError(f"the program failed: {error}{_tail(printed)}") from error
        except (OSError, RuntimeError) as error:
            raise ExecutorError(f"Monty cannot be started: {error}") from error
        raise PromptError(f"the program ran longer than {self.seconds:g} s{_tail(printed)}")

    async def _run(self, program: str, printed: _Printed) -> None:
        limits = pydantic_monty.ResourceLimits(
            max_memory=self.memory, max_feed_duration_secs=self.seconds
        )
        # A pool for each program: it has no state to leave behind, and no loop to be bound to.
        async with (
            pydantic_monty.AsyncMonty(max_processes=1) as pool,
            pool.checkout(limits=limits) as session,
        ):
            await session.feed_run(program, print_callback=printed.add)


class _Printed:
    """What a program printed, up to a number of characters."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = ""
        self._left_out = 0

    def add(self, stream: str, text: str) -> None:
        room = self._most - len(self._kept)
        self._kept += text[:room]
        self._left_out += max(0, len(text) - room)

    def text(self) -> str:
        return self._kept + (f"\n[{self._left_out} more left out]" if self._left_out else "")


def _tail(printed: _Printed) -> str:
    text = printed.text()
    cut = "…" if len(text) > _TAIL_CHARACTERS else ""
    return f"; it printed: {cut}{text[-_TAIL_CHARACTERS:]}" if text else ""
