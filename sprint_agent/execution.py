"""One execution: an executor at work on a prompt, whatever it does made into a value."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from sprint_agent import events, grammar
from sprint_agent.calls import Call, OutOfTokens, Tally
from sprint_agent.context import Snapshot
from sprint_agent.engines.base import Delta, Sampling
from sprint_agent.executors import Generated, Task
from sprint_agent.result import Execution, ExecutionStatus, Prompt

if TYPE_CHECKING:
    from sprint_agent.turn import Setting

MAX_CHARACTERS = 32_000
"""What an executor returns beyond this is clipped, so that it cannot fill the context."""


class Slots:
    """Places for executions that run at the same time, given in the order in which they ask."""

    def __init__(self, total: int | None) -> None:
        self._limiter = anyio.CapacityLimiter(total) if total else None
        self._released: int | None = None

    @asynccontextmanager
    async def take(self, number: int) -> AsyncGenerator[int | None]:
        """A place, while entered; says for whose end it had to wait, if it had to."""
        if self._limiter is None:
            yield None
            return
        waits = self._limiter.available_tokens < 1
        async with self._limiter:
            try:
                yield self._released if waits else None
            finally:
                self._released = number


async def execute(
    setting: Setting,
    stage: int,
    prompt: Prompt,
    context: Snapshot,
    ended: Callable[[Execution], None],
) -> None:
    """Runs the executor of `prompt`; `ended` gets the Execution, also when it is cancelled."""
    recorded = setting.recorded.execution(stage, prompt) if setting.recorded else None
    if recorded is not None:
        ended(recorded)
        return
    tally = Tally()
    started: float | None = None
    after: int | None = None
    name = setting.routing.name(prompt.executor)

    def close(
        status: ExecutionStatus, text: str, ids: tuple[int, ...] | None = None, error: str = ""
    ) -> None:
        ended(
            Execution(
                stage=stage,
                number=prompt.number,
                executor=name,
                status=status,
                text=text,
                usage=tally.usage,
                started=started,
                ended=setting.now(),
                error=error or None,
                after=after,
                ids=ids,
            )
        )

    try:
        async with setting.slots.take(prompt.number) as after:
            started = setting.now()
            setting.emit(events.ExecutionStarted(started, stage, prompt.number))
            call = _Call(setting, stage, prompt.number, tally)
            task = Task(prompt.text, stage, prompt.number, context, call)
            outcome = await setting.routing.find(prompt.executor).execute(task)
        close("done", *_read(outcome))
    except anyio.get_cancelled_exc_class():
        close("stopped", grammar.STOPPED)
        raise
    except Exception as error:
        reason = _reason(error)
        close("failed", grammar.failed(reason), error=reason)


def stopped(stage: int, prompt: Prompt, executor: str, at: float) -> Execution:
    """The execution of a prompt whose executor had not come to begin."""
    tally = Tally()
    return Execution(
        stage, prompt.number, executor, "stopped", grammar.STOPPED, tally.usage, None, at
    )


class _Call:
    """`Task.generate` for one execution: streams its text as events, on its own tally."""

    def __init__(self, setting: Setting, stage: int, number: int, tally: Tally) -> None:
        self._setting = setting
        self._stage = stage
        self._number = number
        self._tally = tally

    async def __call__(
        self, context: Snapshot, sampling: Sampling | None, stop: tuple[str, ...]
    ) -> Generated:
        reader = _Answer(self._setting, self._stage, self._number, self._tally, context)
        call = Call(
            self._stage,
            self._number,
            sampling or self._setting.seeded(self._stage, self._number),
            (*grammar.EXECUTOR_STOPS, *stop),
        )
        finish = await self._setting.caller.stream(call, reader)
        assert finish is not None
        ids = tuple(token for delta in reader.deltas for token in delta.ids)
        return Generated("".join(delta.text for delta in reader.deltas), ids, finish.reason)


class _Answer:
    """What one call of an execution generates."""

    def __init__(
        self, setting: Setting, stage: int, number: int, tally: Tally, context: Snapshot
    ) -> None:
        self._setting = setting
        self._stage = stage
        self._number = number
        self._context = context
        self.tally = tally
        self.deltas: list[Delta] = []

    def context(self) -> Snapshot:
        return self._context

    def receive(self, delta: Delta, call: int) -> bool:
        self.deltas.append(delta)
        now, text, ids = self._setting.now(), delta.text, delta.ids
        self._setting.emit(events.ExecutionText(now, self._stage, self._number, text, ids, call))
        return True

    def discard(self) -> None:
        self.deltas.clear()


def _read(outcome: object) -> tuple[str, tuple[int, ...] | None]:
    """The text of what an executor returned, and its ids where the model generated it."""
    if isinstance(outcome, Generated):
        return outcome.text, outcome.ids
    if not isinstance(outcome, str):
        raise TypeError(f"the executor returned {type(outcome).__name__}, not text")
    if len(outcome) > MAX_CHARACTERS:
        return f"{outcome[:MAX_CHARACTERS]}\n[{len(outcome) - MAX_CHARACTERS} more left out]", None
    return outcome, None


def _reason(error: Exception) -> str:
    if isinstance(error, OutOfTokens):
        return "the run's token budget is used up"
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
