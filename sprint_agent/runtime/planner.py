"""One turn of the planner, and the executions that it starts.

The planner writes in the body of a task group; each prompt starts its executor in that group, at its
closing tag (`dispatch="tag"`) or when the plan is whole (`dispatch="stage"`). The group ends when all
are done, or is cancelled by the first success. The turn ends in a plan, in the answer, or in neither.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Literal

import anyio
from anyio.abc import TaskGroup

from sprint_agent import events
from sprint_agent.engine import Delta, Engine, Finish, Sampling, TokenUsage
from sprint_agent.errors import PlanError
from sprint_agent.join import FirstSuccess, Join
from sprint_agent.protocol import tags
from sprint_agent.protocol.context import Context, GeneratedText, Snapshot, replace_surrogates
from sprint_agent.protocol.tags import AnswerClosed, Malformed, PlanClosed, PromptClosed, TurnEvent
from sprint_agent.result import Execution, Prompt, Result, Stage, Verdict
from sprint_agent.runtime.account import RunAccount
from sprint_agent.runtime.calls import Call, Caller, Recorded
from sprint_agent.runtime.execution import Inside, execute, stopped
from sprint_agent.runtime.router import Router
from sprint_agent.task import Nested

Dispatch = Literal["tag", "stage"]
_REPAIR_TEMPERATURE = 0.6


@dataclass(frozen=True, slots=True)
class Setting:
    """What all turns of a run share. `now` is in seconds since the run began.

    `nested` runs a question inside this run.
    """

    engine: Engine
    routing: Router
    dispatch: Dispatch
    join: Join
    sampling: Sampling
    caller: Caller
    account: RunAccount
    nested: Callable[[Nested, Inside], Awaitable[Result]]
    recorded: Recorded | None
    emit: Callable[[events.Event], None]
    now: Callable[[], float]

    def seeded(self, stage: int, who: int, call: int = 0) -> Sampling:
        """The run's sampling, with a seed of its own for each call where the run has one."""
        if self.sampling.seed is None:
            return self.sampling
        mixed = (self.sampling.seed * 1_000_003 + stage * 10_007 + call * 101_009 + who) % 2**31
        return replace(self.sampling, seed=mixed)


class PlannerTurn:
    """Runs one turn. `number` is the stage that it becomes if it holds a plan.

    Afterwards either `answer` is set, or `plan_closed` says that it was a plan.
    """

    def __init__(self, setting: Setting, context: Context, number: int, *, forced: bool) -> None:
        self._setting = setting
        self._base = context.snapshot()
        self._number = number
        self._forced = forced
        self._turn = GeneratedText(setting.engine.tokenizer)
        self._parser = tags.TurnParser(forced=forced)
        self._group: TaskGroup | None = None
        self._failure: Exception | None = None
        self._pending: list[PromptClosed] = []
        self._malformed: Malformed | None = None
        self._cut: TokenUsage | None = None
        self._good = 0
        self._end: int | None = None
        self._ended_by: int | None = None
        self._remark = ""
        self._prompts: list[Prompt] = []
        self._executions: dict[int, Execution] = {}
        self._written: float | None = None
        self.tally = setting.account.tally.child()
        self.answer: str | None = None

    async def run(self) -> None:
        """Runs the turn and its executions to their end.

        Raises PlanError, EngineError and Exhausted as the planner's own calls do; executions
        raise nothing.
        """
        async with anyio.create_task_group() as group:
            self._group = group
            try:
                await self._write()
                self._written = self._now()
                self._dispatch_pending()
            except Exception as error:
                self._fail(error)
        if self._failure is not None:
            raise self._failure

    @property
    def planned(self) -> bool:
        """Whether the turn was a plan: closed, or cut off by the success of one of its prompts."""
        return self.answer is None and (self._end is not None or self._ended_by is not None)

    def text(self) -> tuple[str, tuple[int, ...]]:
        """What the turn adds to the context: text and ids, cut behind the last good prompt where
        the plan was left unfinished."""
        if self._end is not None:
            return self._turn.prefix(self._end)
        return self._turn.prefix(self._good if self._prompts else len(self._turn))

    def stage(self) -> Stage:
        """The stage as it is now; executions that have not ended stand in it as stopped."""
        executions = [
            self._executions.get(p.number)
            or stopped(self._number, p, self._executor_name(p), self._setting.now())
            for p in self._prompts
        ]
        checked = isinstance(self._setting.join, FirstSuccess) and bool(executions)
        return Stage(
            number=self._number,
            plan=self.text()[0],
            prompts=tuple(self._prompts),
            executions=tuple(executions),
            usage=self.tally.usage,
            verdict=Verdict(self._ended_by, self._remark) if checked else None,
            seconds_after_plan=0.0 if self._written is None else self._now() - self._written,
        )

    # --- the planner ------------------------------------------------------------------------------

    async def _write(self) -> None:
        malformed = await self._attempt(repairs=0)
        if malformed is None:
            return
        self._emit(events.PlanRepaired(self._now(), self._number, malformed.reason))
        self.discard()
        malformed = await self._attempt(repairs=1, complaint=malformed.reason)
        if malformed is not None:
            raise PlanError(
                f"the planner's turn {self._number} cannot be run, not even after its repair "
                f"({malformed.reason}): {self._advice()}"
            )

    async def _attempt(self, repairs: int, complaint: str | None = None) -> Malformed | None:
        sampling = self._setting.seeded(self._number, -repairs)
        if repairs:
            # Greedily, the planner would write the very same again.
            warm = max(sampling.temperature, _REPAIR_TEMPERATURE)
            sampling = replace(sampling, temperature=warm)
        self._malformed = self._cut = None
        call = Call(self._number, None, sampling, tags.PLANNER_STOPS, complaint)
        finish = await self._setting.caller.stream(call, self)
        if finish is not None and self._malformed is None:
            self._finish(finish)
        return self._malformed

    def _advice(self) -> str:
        """What to do where the planner's turn cannot be run."""
        if self._cut is None:
            return "use a model that was trained on the format"
        length = self._setting.engine.context_length
        if length is None or self._cut.prompt_tokens + self._cut.completion_tokens < length:
            return "raise max_tokens of the sampling"
        return (
            f"the model's context of {length} ids is full; ask for less, let executors return less, "
            "or take a model with a longer one"
        )

    def context(self) -> Snapshot:
        """What the planner goes on from."""
        context = Context(self._setting.engine.tokenizer, self._base)
        context.append_generated(*self._turn.prefix(len(self._turn)))
        return context.snapshot()

    def receive(self, delta: Delta, call: int) -> bool:
        """Reads the next delta of the planner; False where nothing after it would be read."""
        self._turn.extend(delta)
        read = self._parser.feed(delta.text)
        written = events.AnswerText if self._parser.state == "answer" else events.PlanText
        self._emit(written(self._now(), self._number, delta.text, delta.ids, call))
        for event in read:
            self._take(event)
        return self._parser.state != "done"

    def discard(self) -> None:
        """Goes back behind the last prompt that was closed, for the planner to go on from there."""
        text, ids = self._turn.prefix(self._good)
        self._turn = GeneratedText(self._setting.engine.tokenizer)
        self._turn.extend(Delta(text, ids))
        self._parser = tags.TurnParser(forced=self._forced)
        self._parser.feed(text)

    def _finish(self, finish: Finish) -> None:
        if finish.reason == "length":
            self._cut = finish.usage
            self._malformed = Malformed("it was cut off", len(self._turn))
            return
        for event in self._parser.end(finish.stop):
            self._take(event)

    def _take(self, event: TurnEvent) -> None:
        match event:
            case PromptClosed():
                self._good = event.end
                self._pending.append(event)
                if self._setting.dispatch == "tag":
                    self._dispatch_pending()
            case PlanClosed():
                self._end = event.end
            case AnswerClosed():
                self.answer = tags.boxed(event.text)
            case Malformed():
                self._malformed = event

    # --- the executions ---------------------------------------------------------------------------

    def _dispatch_pending(self) -> None:
        assert self._group is not None
        pending, self._pending = self._pending, []
        for closed in pending:
            self._setting.account.budget.begin_execution()
            number = len(self._prompts) + 1
            tokens = self.tally.usage.completion_tokens
            prompt = Prompt(number, closed.text, closed.executor, tokens)
            self._prompts.append(prompt)
            if closed.numbers != (self._number, number):
                self._emit(
                    events.PromptRenumbered(self._now(), self._number, number, closed.numbers)
                )
            context = Context(self._setting.engine.tokenizer, self._base)
            context.append_generated(*self._turn.prefix(closed.end))
            context.append(tags.execution_opening(self._number, number))
            name = self._executor_name(prompt)
            self._emit(events.PromptReady(self._now(), self._number, number, closed.text, name))
            self._group.start_soon(self._execute, prompt, context.snapshot())

    async def _execute(self, prompt: Prompt, context: Snapshot) -> None:
        def ended(execution: Execution) -> None:
            self._executions[prompt.number] = execution
            self._emit(events.ExecutionEnded(self._now(), execution))

        await execute(self._setting, self._number, prompt, context, ended)
        execution = self._executions[prompt.number]
        join = self._setting.join
        try:
            if isinstance(join, FirstSuccess) and self._ended_by is None:
                verdict = self._verdict(join, execution)
                if verdict is not None:
                    self._ended_by, self._remark = prompt.number, replace_surrogates(verdict)
                    self._cancel()
        except Exception as error:
            self._fail(error)

    def _verdict(self, join: FirstSuccess, execution: Execution) -> str | None:
        """What the check says; in a stage that had ended in the run's trace, what it said then."""
        recorded = self._setting.recorded
        stage = recorded.stage(self._number) if recorded is not None else None
        if stage is None or stage.verdict is None:
            return join.verdict(execution)
        return stage.verdict.remark if execution.number == stage.verdict.accepted else None

    def _executor_name(self, prompt: Prompt) -> str:
        return self._setting.routing.name(prompt.executor)

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._cancel()

    def _cancel(self) -> None:
        assert self._group is not None
        self._group.cancel_scope.cancel()

    def _emit(self, event: events.Event) -> None:
        self._setting.emit(event)

    def _now(self) -> float:
        return self._setting.now()
