"""One turn of the planner, and the executions that it starts.

The planner writes in the body of a task group. Each prompt starts its executor in that group, at its
closing tag (`dispatch="tag"`) or when the plan is complete (`dispatch="stage"`). The group ends when
all of them are done, or the first success cancels it. The turn ends in a plan, in the answer, or in
neither.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, replace

import anyio
from anyio.abc import TaskGroup

from sprint_agent import events
from sprint_agent.engine import Delta, Finish, TokenUsage
from sprint_agent.errors import PlanError
from sprint_agent.join import FirstSuccess, remark_of
from sprint_agent.protocol import tags
from sprint_agent.protocol.context import Context, GeneratedText, Snapshot, replace_surrogates
from sprint_agent.protocol.tags import AnswerClosed, Malformed, PlanClosed, PromptClosed, TurnEvent
from sprint_agent.result import Execution, Prompt, Stage, Verdict
from sprint_agent.runtime.account import UsageCounter
from sprint_agent.runtime.execution import ExecutionHandle, execute
from sprint_agent.runtime.scope import RunScope

_REPAIR_TEMPERATURE = 0.6


@dataclass(slots=True)
class _Pending:
    """A prompt that is complete, and whose executor has not started."""

    closed: PromptClosed
    context: Snapshot
    handle: ExecutionHandle | None = None


class PlannerTurn:
    """Runs one turn. Afterwards either `answer` is set, or `planned` says that it was a plan.

    Args:
        context: The context that the turn continues.
        number: The number of the stage that the turn becomes if it is a plan.
        forced: Whether the turn must be the answer.
    """

    def __init__(self, scope: RunScope, context: Context, number: int, *, forced: bool) -> None:
        self._scope = scope
        self._base = context.snapshot()
        self._number = number
        self._forced = forced
        self._text = GeneratedText(scope.engine.tokenizer)
        self._parser = tags.TurnParser(forced=forced)
        self._group: TaskGroup | None = None
        self._failure: Exception | None = None
        self._pending: list[_Pending] = []
        self._plan_complete = anyio.Event()
        self._malformed: Malformed | None = None
        self._cut_off: TokenUsage | None = None
        self._good = 0  # the end of the last complete prompt, in characters
        self._end: int | None = None  # the end of the plan, in characters
        self._verdict = Verdict(None)
        self._handles: list[ExecutionHandle] = []
        self._executions: dict[int, Execution] = {}
        self._written_at: float | None = None
        self._repairing = False
        self.usage: UsageCounter = scope.account.usage.child()
        self.answer: str | None = None
        self.fault: str | None = None
        """How the answer departs from the format, None if it does not."""

    async def run(self) -> None:
        """Runs the turn and its executions until they end. Executions raise nothing.

        Raises:
            PlanError: The turn cannot be read, and its repair cannot either.
            EngineError: A call of the planner failed.
            BudgetExhausted: The run's budget ended a call of the planner.
        """
        async with anyio.create_task_group() as group:
            self._group = group
            try:
                await self._write()
                self._written_at = self._scope.now()
                self._start_pending()
            except Exception as error:
                # An engine may fail because the first success cancelled it: the success counts more.
                if not self._accepted:
                    self._fail(error)
        if self._failure is not None:
            raise self._failure

    @property
    def planned(self) -> bool:
        """Whether the turn was a plan: complete, or cut off when one of its executions succeeded."""
        return self.answer is None and (self._end is not None or self._accepted)

    @property
    def _accepted(self) -> bool:
        return self._verdict.accepted is not None

    def text(self) -> tuple[str, tuple[int, ...]]:
        """Returns the text and ids that the turn adds to the context.

        An incomplete plan ends after its last complete prompt.
        """
        if self._end is not None:
            return self._text.prefix(self._end)
        return self._text.prefix(self._good if self._handles else len(self._text))

    def stage(self) -> Stage:
        """Returns the stage as it is now. Executions that have not ended are stopped in it."""
        done = self._executions
        executions = tuple(done.get(h.prompt.number) or h.stopped() for h in self._handles)
        checked = isinstance(self._scope.join, FirstSuccess) and bool(executions)
        written_at = self._written_at
        return Stage(
            number=self._number,
            plan=self.text()[0],
            prompts=tuple(handle.prompt for handle in self._handles),
            executions=executions,
            usage=self.usage.usage,
            verdict=self._verdict if checked else None,
            seconds_after_plan=0.0 if written_at is None else self._scope.now() - written_at,
        )

    # --- the planner ------------------------------------------------------------------------------

    async def _write(self) -> None:
        malformed = await self._call(repairs=0)
        if malformed is None:
            return
        reason = malformed.reason
        self._scope.emit(events.PlanRepaired(self._scope.now(), self._number, reason))
        self._rewind()
        self._repairing = True
        malformed = await self._call(repairs=1, complaint=reason)
        if malformed is not None:
            raise PlanError(
                f"turn {self._number} of the planner cannot be run, and its repair cannot either "
                f"({malformed.reason}): {self._advice()}",
                text=self._text.prefix(len(self._text))[0],
            )

    async def _call(self, repairs: int, complaint: str | None = None) -> Malformed | None:
        """Lets the planner write until the turn ends. Returns what is malformed, None if nothing is."""
        sampling = self._scope.seeded(self._number, -repairs)
        if repairs:
            # With temperature 0, the planner would write the same again.
            warm = max(sampling.temperature, _REPAIR_TEMPERATURE)
            sampling = replace(sampling, temperature=warm)
        self._malformed = self._cut_off = None
        finish: Finish | None = None
        async for attempt in self._scope.calls.attempts(self._number, None, self.usage):
            if not attempt.first:
                self._rewind()
            context = self._context()
            async with attempt.stream(context, sampling, tags.PLANNER_STOPS, complaint) as stream:
                async for delta in stream:
                    self._receive(delta, stream.number)
                    if self._parser.state == "done":
                        break
                finish = stream.finish
        if finish is not None and self._malformed is None:
            self._finish(finish)
        return self._malformed

    def _context(self) -> Snapshot:
        """Returns the context that the planner continues."""
        if not len(self._text):
            return self._base
        context = Context(self._scope.engine.tokenizer, self._base)
        context.append_generated(*self._text.prefix(len(self._text)))
        return context.snapshot()

    def _receive(self, delta: Delta, call: int) -> None:
        self._text.extend(delta)
        completed = self._parser.feed(delta.text)
        written = events.AnswerText if self._parser.state == "answer" else events.PlanText
        self._scope.emit(written(self._scope.now(), self._number, delta.text, delta.ids, call))
        for event in completed:
            self._take(event)

    def _rewind(self) -> None:
        """Goes back to the end of the last complete prompt. The planner continues from there."""
        text, ids = self._text.prefix(self._good)
        self._text = GeneratedText(self._scope.engine.tokenizer)
        self._text.extend(Delta(text, ids))
        self._parser = tags.TurnParser(forced=self._forced)
        self._parser.feed(text)

    def _finish(self, finish: Finish) -> None:
        if finish.reason == "length":
            self._cut_off = finish.usage
            self._malformed = Malformed("it was cut off", len(self._text))
            return
        for event in self._parser.end(finish.stop):
            self._take(event)

    def _take(self, event: TurnEvent) -> None:
        match event:
            case PromptClosed():
                self._good = event.end
                self._close_prompt(event)
            case PlanClosed():
                self._end = event.end
            case AnswerClosed():
                self._close_answer(event.text)
            case Malformed():
                self._malformed = event

    def _close_answer(self, text: str) -> None:
        """Takes the final answer. One that is empty, or that contains a plan, is written again once."""
        answer, fault = tags.boxed(text), tags.fault_of_answer(text)
        if fault is not None and not (answer and self._repairing):
            self._malformed = Malformed(fault, 0)
        else:
            self.answer, self.fault = answer, fault

    def _advice(self) -> str:
        """Returns what to do if the planner's turn cannot be run."""
        if self._cut_off is None:
            return "use a model that was trained on the format"
        length = self._scope.engine.context_length
        used = self._cut_off.prompt_tokens + self._cut_off.completion_tokens
        if length is None or used < length:
            return "raise max_tokens of the sampling"
        return (
            f"the model's context of {length} ids is full: ask for less, let executors return less, "
            "or use a model with a longer context"
        )

    # --- the executions ---------------------------------------------------------------------------

    def _close_prompt(self, closed: PromptClosed) -> None:
        """A prompt is complete: starts its executor, or prepares it to start after the plan."""
        assert self._group is not None
        pending = _Pending(closed, self._execution_context(closed))
        self._pending.append(pending)
        if self._scope.dispatch == "tag":
            self._start_pending()
        # A task that waits already starts sooner than one that is made when the plan is complete.
        self._group.start_soon(self._execute, pending)

    def _start_pending(self) -> None:
        """Lets the executors of the prompts start that are complete and not started yet."""
        pending, self._pending = self._pending, []
        tokens = self.usage.usage.completion_tokens
        for prompt in pending:
            self._scope.account.budget.begin_execution()
            prompt.handle = self._open(prompt.closed, tokens)
        if self._scope.dispatch == "stage":
            self._plan_complete.set()

    def _execution_context(self, closed: PromptClosed) -> Snapshot:
        """Returns the context of the execution of a prompt that was just closed."""
        context = Context(self._scope.engine.tokenizer, self._base)
        context.append_generated(*self._text.prefix(closed.end))
        # Prompts that wait for the plan are counted too: they come first.
        number = len(self._handles) + len(self._pending) + 1
        context.append(tags.execution_opening(self._number, number))
        return context.snapshot()

    def _open(self, closed: PromptClosed, tokens: int) -> ExecutionHandle:
        """Returns the handle of a new execution, and reports its prompt.

        `tokens` are those that the planner has written.
        """
        scope, stage, number = self._scope, self._number, len(self._handles) + 1
        prompt = Prompt(number, closed.text, closed.executor, tokens)
        handle = ExecutionHandle(scope, stage, prompt)
        self._handles.append(handle)
        if closed.numbers != (stage, number):
            scope.emit(events.PromptRenumbered(scope.now(), stage, number, closed.numbers))
        name = scope.router.name(prompt.executor)
        scope.emit(events.PromptReady(scope.now(), stage, number, closed.text, name))
        return handle

    async def _execute(self, pending: _Pending) -> None:
        if pending.handle is None:
            await self._plan_complete.wait()
        handle = pending.handle
        assert handle is not None
        try:
            execution = await execute(handle, pending.context)
        except BaseException:
            self._ended(handle.stopped())
            raise
        self._ended(execution)
        try:
            await self._check(execution)
        except Exception as error:
            self._fail(error)

    def _ended(self, execution: Execution) -> None:
        self._executions[execution.number] = execution
        self._scope.emit(events.ExecutionEnded(self._scope.now(), execution))

    async def _check(self, execution: Execution) -> None:
        """Ends the stage if the check of the join policy accepts the execution."""
        join = self._scope.join
        if not isinstance(join, FirstSuccess) or self._accepted:
            return
        remark = await self._remark(join, execution)
        # An async check may have accepted another execution in the meantime.
        if remark is not None and not self._accepted:
            self._verdict = Verdict(execution.number, replace_surrogates(remark))
            self._cancel()

    async def _remark(self, join: FirstSuccess, execution: Execution) -> str | None:
        """Returns what the check says about an execution that it accepts, else None.

        If the stage ended in the run's trace, this is what the check said then.
        """
        recorded = self._scope.recorded
        stage = recorded.stage(self._number) if recorded is not None else None
        if stage is None or stage.verdict is None:
            remark = join.verdict(execution)
            return remark_of(await remark) if isinstance(remark, Awaitable) else remark
        verdict = stage.verdict
        return verdict.remark if execution.number == verdict.accepted else None

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._cancel()

    def _cancel(self) -> None:
        assert self._group is not None
        self._group.cancel_scope.cancel()
