"""One execution: an executor works on a prompt, and whatever it does becomes a value."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

import anyio
import anyio.lowlevel

from sprint_agent import events
from sprint_agent.engine import Delta, Finish, Sampling, TokenUsage
from sprint_agent.errors import BudgetExhausted, ExecutorError, LimitReached, PromptError
from sprint_agent.protocol import tags
from sprint_agent.protocol.context import Snapshot, replace_surrogates
from sprint_agent.result import Execution, ExecutionStatus, Prompt, Result
from sprint_agent.runtime.cancellation import current_task
from sprint_agent.runtime.critical_path import ExecutionClock
from sprint_agent.runtime.recorded import RecordedRun
from sprint_agent.runtime.scope import RunScope
from sprint_agent.runtime.slots import Slot
from sprint_agent.task import Generation, Nested, Task, result_characters, text_of


async def execute(handle: ExecutionHandle, context: Snapshot) -> Execution:
    """Runs the executor of a prompt and returns its Execution, done or failed.

    Nothing that the executor raises leaves this function, except for the cancellation of the run and
    for what ends the whole program. After those, `handle.stopped()` is the execution.
    """
    scope, prompt = handle.scope, handle.prompt
    if (recorded := handle.recorded()) is not None:
        return recorded
    task = Task(prompt.text, handle.stage, prompt.number, context, scope.account.run, handle)
    try:
        async with handle.slot() as handle.held:
            handle.started = scope.now()
            scope.emit(events.ExecutionStarted(handle.started, handle.stage, prompt.number))
            executor = scope.router.find(prompt.executor)
            outcome = await executor.execute(task)
        text, ids = _read(outcome, result_characters(executor))
        # Ids of another tokenizer mean nothing in the planner's context.
        return handle.execution("done", text, ids=ids if scope.shares_tokenizer() else None)
    except BaseException as error:
        outer = _outer(error)
        if outer is not None:
            raise outer from None
        # An executor may fail because it was cancelled: then it was stopped, and has not failed.
        await anyio.lowlevel.checkpoint_if_cancelled()
        cancelled = _revoke_cancellation()
        reason = "its task was cancelled" if cancelled else _reason(error)
        # A prompt that is wrong and a limit that is reached are part of a run. The rest may be a bug.
        usual = isinstance(_single(error), PromptError | BudgetExhausted | LimitReached)
        level = logging.DEBUG if usual else logging.WARNING
        task.logger.log(level, "the execution failed: %s", reason, exc_info=error)
        return handle.execution("failed", tags.failed(reason), error=reason).caused_by(error)
    finally:
        handle.close()


class ExecutionHandle:
    """One prompt at work: what its task may ask of the run, and what the execution is so far.

    When the execution has ended, running requests of its task are cancelled, and nothing more can be
    asked: a thread that was left behind may try.
    """

    def __init__(self, scope: RunScope, stage: int, prompt: Prompt) -> None:
        self.scope = scope
        self.stage = stage
        self.prompt = prompt
        self.started: float | None = None
        self._usage = scope.account.usage.child()
        self._clock = ExecutionClock(scope.account.clock, prompt.tokens, self._spent)
        self.held: Slot | None = None
        """Its concurrency slot, once it has one."""
        self._beside = 0
        self._runs = 0
        self._calls = 0
        self._requests: set[anyio.CancelScope] = set()
        self._host_task: object = None
        self._closed = False

    def recorded(self) -> Execution | None:
        """Returns the execution if an earlier part of the run finished it, and reports it again."""
        recorded = self.scope.recorded
        found = recorded.execution(self.stage, self.prompt) if recorded else None
        if found is None:
            return None
        for event in found.events:
            self.scope.emit(event)
        self.scope.account.resume(found.execution.usage, found.executions)
        return found.execution

    def slot(self) -> Slot:
        """Waits for a concurrency slot when it is entered, and frees it when it is left."""
        self._host_task = current_task()
        return self.scope.account.slots.take(self.stage, self.prompt.number, self._clock)

    def close(self) -> None:
        """Ends what the task asks for."""
        self._closed = True
        for request in self._requests:
            request.cancel()

    def stopped(self) -> Execution:
        """Returns the execution as it is now, stopped."""
        return self.execution("stopped", tags.STOPPED)

    def execution(
        self,
        status: ExecutionStatus,
        text: str,
        *,
        ids: tuple[int, ...] | None = None,
        error: str | None = None,
    ) -> Execution:
        """Returns the execution as it is now, with this outcome."""
        return Execution(
            stage=self.stage,
            number=self.prompt.number,
            executor=self.scope.router.name(self.prompt.executor),
            status=status,
            text=text,
            usage=self._usage.usage,
            started=self.started,
            ended=self.scope.now(),
            error=error,
            slot_free_at=self._clock.slot_free_at,
            ids=ids,
            # The tokens of nested runs beside their critical path, less those waited for on the path.
            parallel_tokens=self._beside - self._clock.wait_tokens,
        )

    def _spent(self) -> int:
        """Returns the tokens on the critical path of this execution so far."""
        return self._usage.usage.completion_tokens - self._beside

    # --- what the task asks (see `task.RunHandle`) ------------------------------------------------

    @property
    def tokens_left(self) -> int | None:
        return self.scope.account.budget.tokens_left

    async def generate(
        self, context: Snapshot, sampling: Sampling | None, stop: tuple[str, ...]
    ) -> Generation:
        with self._request():
            scope, number = self.scope, self.prompt.number
            sampling = sampling or self._sampling()
            stop = (*tags.EXECUTOR_STOPS, *stop)
            context = scope.executor_context(context)
            deltas: list[Delta] = []
            finish: Finish | None = None
            async for attempt in scope.calls.attempts(self.stage, number, self._usage):
                deltas.clear()
                async with attempt.stream(context, sampling, stop) as stream:
                    async for delta in stream:
                        deltas.append(delta)
                        written = (self.stage, number, delta.text, delta.ids, stream.number)
                        scope.emit(events.ExecutionText(scope.now(), *written))
                    finish = stream.finish
            assert finish is not None
            ids = tuple(token for delta in deltas for token in delta.ids)
            return Generation("".join(delta.text for delta in deltas), ids, finish.reason)

    async def solve(self, nested: Nested) -> Result:
        with self._request():
            assert self.held is not None
            earlier = self._earlier(nested.question)
            scope = self.scope.nested(
                nested,
                self.held,
                self._usage.child(),
                self._sampling(),
                self._reporter(earlier.run if earlier else None),
                earlier,
            )
            async with self.held.lend():
                result = earlier.result if earlier else None
                if earlier is None or result is None:
                    result = await scope.run(scope, nested.question)
                else:
                    _take(earlier, result, scope)
                self._beside += result.usage.completion_tokens - result.usage.sequential_tokens
            return result

    def _earlier(self, question: str) -> RecordedRun | None:
        """Returns what an earlier part of the run recorded of its next nested run."""
        recorded = self.scope.recorded
        return recorded.nested(self.stage, self.prompt.number, question) if recorded else None

    def _reporter(self, run: int | None) -> Callable[[events.Event], None]:
        """Reports what a nested run reports, as events of this run. A new one gets a new number."""
        scope, stage, number = self.scope, self.stage, self.prompt.number
        if run is None:
            self._runs += 1
            run = self._runs + (scope.recorded.nested_runs(stage, number) if scope.recorded else 0)

        def emit(event: events.Event) -> None:
            parent = events.ParentExecution(scope.now(), stage, number, run)
            scope.emit(events.NestedEvent.of(parent, event))

        return emit

    def _sampling(self) -> Sampling:
        """Returns the sampling of the next call. If the run has a seed, each call has its own."""
        self._calls += 1
        return self.scope.seeded(self.stage, self.prompt.number, self._calls - 1)

    def _request(self) -> AbstractContextManager[None]:
        """Surrounds what the task asks for.

        Raises:
            ExecutorError: The execution has ended.
        """
        if self._closed:
            raise ExecutorError("the execution has ended: its task cannot ask for anything more")
        # What the execution itself awaits cannot outlive it. Only the requests of others need a scope.
        own = self._host_task is not None and current_task() is self._host_task
        return nullcontext() if own else self._cancellable()

    @contextmanager
    def _cancellable(self) -> Generator[None]:
        with anyio.CancelScope() as scope:
            self._requests.add(scope)
            try:
                yield
            finally:
                self._requests.discard(scope)
        if scope.cancelled_caught:
            raise ExecutorError("the execution has ended: its task cannot ask for anything more")


def _take(earlier: RecordedRun, result: Result, scope: RunScope) -> None:
    """Reports a nested run again that had ended, and counts what it used."""
    for event in earlier.events:
        scope.emit(event)
    used = result.usage
    tokens = TokenUsage(used.prompt_tokens, used.completion_tokens, used.cached_tokens)
    scope.account.resume(tokens, earlier.executions)


def _outer(error: BaseException) -> BaseException | None:
    """Returns the part of an error that is not the executor's own, None if there is none.

    Such a part is the cancellation of the run, or an interrupt. A tool that calls `sys.exit()` means
    itself, not the application.
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
    """Returns whether the run was cancelled: not only what the executor awaited, or its own task.

    A run ends its executions through cancel scopes. If asyncio cancels all tasks at the end of a
    program, it cancels the run's own task too, and with it these scopes.
    """
    return anyio.current_effective_deadline() == -math.inf


def _revoke_cancellation() -> bool:
    """Takes back that the task of an execution was cancelled, because it continues.

    Returns whether it was: by the executor itself, or by somebody who found the task.
    """
    task = current_task()
    cancelled = task is not None and task.cancelling() > 0
    while task is not None and task.cancelling():
        task.uncancel()
    return cancelled


def _read(outcome: object, most: int) -> tuple[str, tuple[int, ...] | None]:
    """Returns the text that an executor returned, and its ids if the model generated it.

    Other text than the model's is cut after `most` characters.
    """
    text = replace_surrogates(text_of(outcome))
    if isinstance(outcome, Generation):
        return text, outcome.ids
    if len(text) > most:
        return f"{text[:most]}\n[{len(text) - most} more left out]", None
    return text, None


def _reason(error: BaseException) -> str:
    """Returns one line that tells the planner why the execution failed."""
    cause = _single(error)
    if isinstance(cause, BudgetExhausted):
        return str(cause)
    if isinstance(cause, anyio.get_cancelled_exc_class()):
        return "what it waited for was cancelled"
    return replace_surrogates(" ".join(f"{type(cause).__name__}: {cause}".split())[:500])


def _single(error: BaseException) -> BaseException:
    """Returns the error that a task group raised if it is a single one, else `error` itself."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return _single(group.exceptions[0]) if len(group.exceptions) == 1 else group
