"""One execution: an executor at work on a prompt, whatever it does made into a value."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import anyio

from sprint_agent import events
from sprint_agent.engine import Delta, Sampling, TokenUsage
from sprint_agent.errors import BudgetExhausted, ExecutorError
from sprint_agent.protocol import tags
from sprint_agent.protocol.context import Snapshot, replace_surrogates
from sprint_agent.result import Execution, ExecutionStatus, Prompt, Result
from sprint_agent.runtime.account import RunAccount, UsageCounter
from sprint_agent.runtime.calls import Call, Recorded, prompts
from sprint_agent.runtime.critical_path import ExecutionClock
from sprint_agent.runtime.slots import Slot
from sprint_agent.task import Generation, Nested, Task, text_of

if TYPE_CHECKING:
    from sprint_agent.runtime.planner import Setting

MAX_CHARACTERS = 32_000
"""What an executor returns beyond this is clipped, so that it cannot fill the context."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What a nested run has of the run around it; `recorded` is its part of that one's trace."""

    sampling: Sampling
    account: RunAccount
    emit: Callable[[events.Event], None]
    recorded: Recorded | None


async def execute(
    setting: Setting,
    stage: int,
    prompt: Prompt,
    context: Snapshot,
    ended: Callable[[Execution], None],
) -> None:
    """Runs the executor of `prompt`; `ended` gets the Execution, also when it is cancelled.

    Nothing that the executor raises goes further, but for the run's own cancellation and what ends
    the whole program.
    """
    if setting.recorded is not None and _took(setting, setting.recorded, stage, prompt, ended):
        return
    tally = setting.account.tally.child()
    work = _Work(setting, stage, prompt, tally)
    started: float | None = None
    name = setting.routing.name(prompt.executor)

    def close(
        status: ExecutionStatus, text: str, ids: tuple[int, ...] | None = None, error: str = ""
    ) -> None:
        work.close()
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
                slot_free_at=work.clock.slot_free_at,
                ids=ids,
                parallel_tokens=work.parallel_tokens,
            )
        )

    try:
        async with setting.account.slots.take(stage, prompt.number, work.clock) as work.slot:
            started = setting.now()
            setting.emit(events.ExecutionStarted(started, stage, prompt.number))
            task = Task(prompt.text, stage, prompt.number, context, setting.account.run, work)
            outcome = await setting.routing.find(prompt.executor).execute(task)
        close("done", *_read(outcome))
    except BaseException as error:
        outer = _outer(error)
        if outer is not None:
            close("stopped", tags.STOPPED)
            raise outer from None
        reason = _reason(error)
        close("failed", tags.failed(reason), error=reason)


def _took(
    setting: Setting,
    recorded: Recorded,
    stage: int,
    prompt: Prompt,
    ended: Callable[[Execution], None],
) -> bool:
    """Takes the execution from the run's trace, if it had ended there."""
    with recorded.taking():
        found = recorded.execution(stage, prompt)
        if found is None:
            return False
        setting.caller.repeat(found.events)
        setting.account.resume(found.execution.usage, prompts(found.events))
        ended(found.execution)
    return True


def stopped(stage: int, prompt: Prompt, executor: str, at: float) -> Execution:
    """The execution of a prompt whose executor had not come to begin."""
    return Execution(
        stage, prompt.number, executor, "stopped", tags.STOPPED, TokenUsage(), None, at
    )


def _outer(error: BaseException) -> BaseException | None:
    """What of an error is not the executor's own: a cancellation of its run, an interrupt.

    A tool that calls sys.exit() means itself, not the application. Of a group, only some may be outer.
    """
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.split(_outer_alone)[0]
    return error if _outer_alone(error) else None


def _outer_alone(error: BaseException) -> bool:
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return _cancelled()
    return isinstance(error, KeyboardInterrupt | GeneratorExit)


def _cancelled() -> bool:
    """Whether this task was cancelled, and not merely something that it awaited."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # on trio, a cancellation is always the task's own
        return True
    return task is not None and task.cancelling() > 0


class _Work:
    """What one execution's task asks of its run, counted on the execution's tally.

    `slot` is set once it has one. When the execution is closed, what still goes on is cancelled, and
    nothing more can be asked: a thread that was left may try.
    """

    def __init__(self, setting: Setting, stage: int, prompt: Prompt, tally: UsageCounter) -> None:
        self._setting = setting
        self._stage = stage
        self._number = prompt.number
        self._tally = tally
        self._beside = 0
        self._runs = 0
        self._calls = 0
        self._asked: set[anyio.CancelScope] = set()
        self._closed = False
        self.clock = ExecutionClock(setting.account.clock, prompt.tokens, self.spent)
        self.slot: Slot | None = None

    def close(self) -> None:
        """The execution has ended."""
        self._closed = True
        for scope in self._asked:
            scope.cancel()

    @contextmanager
    def _asking(self) -> Generator[None]:
        """Around what the task asks for. Raises ExecutorError where the execution has ended by then."""
        if not self._closed:
            with anyio.CancelScope() as scope:
                self._asked.add(scope)
                try:
                    yield
                    return
                finally:
                    self._asked.discard(scope)
        raise ExecutorError("the execution has ended: its task can ask for nothing more")

    def spent(self) -> int:
        """Tokens one after another, so far."""
        return self._tally.usage.completion_tokens - self._beside

    @property
    def parallel_tokens(self) -> int:
        """Tokens off its critical path, less those for which it waited there."""
        return self._beside - self.clock.wait_tokens

    @property
    def tokens_left(self) -> int | None:
        return self._setting.account.budget.tokens_left

    async def generate(
        self, context: Snapshot, sampling: Sampling | None, stop: tuple[str, ...]
    ) -> Generation:
        with self._asking():
            reader = _Answer(self._setting, self._stage, self._number, self._tally, context)
            call = Call(
                self._stage,
                self._number,
                sampling or self._sampling(),
                (*tags.EXECUTOR_STOPS, *stop),
            )
            finish = await self._setting.caller.stream(call, reader)
            assert finish is not None
            ids = tuple(token for delta in reader.deltas for token in delta.ids)
            return Generation("".join(delta.text for delta in reader.deltas), ids, finish.reason)

    async def solve(self, nested: Nested) -> Result:
        with self._asking():
            assert self.slot is not None
            account = self._setting.account.nested(self.slot, nested.limits, self._tally.child())
            inside = Inside(self._sampling(), account, self._reporter(), None)
            result, earlier = self._earlier(nested.question, inside)
            async with self.slot.lend():
                if result is None:
                    result = await self._setting.nested(nested, replace(inside, recorded=earlier))
                self._beside += result.usage.completion_tokens - result.usage.sequential_tokens
            return result

    def _earlier(self, question: str, inside: Inside) -> tuple[Result | None, Recorded | None]:
        """What an earlier part of the run had of this nested run: all, or something to go on from."""
        recorded = self._setting.recorded
        if recorded is None:
            return None, None
        with recorded.taking():
            run = recorded.nested(self._stage, self._number, question)
            if run is None or run.result is None:
                return None, run
            for event in run.events:
                inside.emit(event)
        used = run.result.usage
        tokens = TokenUsage(used.prompt_tokens, used.completion_tokens, used.cached_tokens)
        inside.account.resume(tokens, prompts(run.events))
        return run.result, None

    def _reporter(self) -> Callable[[events.Event], None]:
        """Reports what the next nested run reports, as events of this run."""
        self._runs += 1
        run, setting = self._runs, self._setting

        def emit(event: events.Event) -> None:
            where = events.ParentExecution(setting.now(), self._stage, self._number, run)
            setting.emit(events.NestedEvent.of(where, event))

        return emit

    def _sampling(self) -> Sampling:
        """The sampling of the next call: where the run has a seed, each has another."""
        self._calls += 1
        return self._setting.seeded(self._stage, self._number, self._calls - 1)


class _Answer:
    """What one call of an execution generates."""

    def __init__(
        self, setting: Setting, stage: int, number: int, tally: UsageCounter, context: Snapshot
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
        written = (self._stage, self._number, delta.text, delta.ids, call)
        self._setting.emit(events.ExecutionText(self._setting.now(), *written))
        return True

    def discard(self) -> None:
        self.deltas.clear()


def _read(outcome: object) -> tuple[str, tuple[int, ...] | None]:
    """The text of what an executor returned, and its ids where the model generated it."""
    text = replace_surrogates(text_of(outcome))
    if isinstance(outcome, Generation):
        return text, outcome.ids
    if len(text) > MAX_CHARACTERS:
        return f"{text[:MAX_CHARACTERS]}\n[{len(text) - MAX_CHARACTERS} more left out]", None
    return text, None


def _reason(error: BaseException) -> str:
    cause = _alone(error)
    if isinstance(cause, BudgetExhausted):
        return str(cause)
    if isinstance(cause, anyio.get_cancelled_exc_class()):
        return "what it waited for was cancelled"
    return replace_surrogates(" ".join(f"{type(cause).__name__}: {cause}".split())[:500])


def _alone(error: BaseException) -> BaseException:
    """What a task group raised, where that is one error; else `error` itself."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return _alone(group.exceptions[0]) if len(group.exceptions) == 1 else group
