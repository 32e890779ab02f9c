"""The planning loop: plan → execute → sync, stage after stage, until the planner answers.

    context = opening(question)
    until the answer:
        turn: the planner writes on; its prompts are executed          turn.py
        sync: the turn and its executions, in prompt order, join the context

The last turn that the limit on stages allows is made to answer, and so is the one after a turn that
held neither a plan nor an answer.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import anyio

from sprint_agent import events
from sprint_agent.engine import Engine, Sampling, TokenUsage
from sprint_agent.errors import BudgetExhausted, QuestionError
from sprint_agent.join import Join
from sprint_agent.limits import LimitName, Limits, Prices
from sprint_agent.protocol import tags
from sprint_agent.protocol.context import Context, replace_surrogates
from sprint_agent.result import Result, Stage, add
from sprint_agent.runtime.account import RunAccount
from sprint_agent.runtime.calls import Caller, Recorded
from sprint_agent.runtime.execution import Inside
from sprint_agent.runtime.planner import Dispatch, PlannerTurn, Setting
from sprint_agent.runtime.router import Router
from sprint_agent.task import Nested


class Loop:
    """One run of one question. What happens goes to `emit`, which must not block.

    `account` is that of a run inside another; without it, the run stands for itself.
    """

    def __init__(
        self,
        engine: Engine,
        routing: Router,
        limits: Limits,
        dispatch: Dispatch,
        join: Join,
        sampling: Sampling,
        emit: Callable[[events.Event], None],
        recorded: Recorded | None = None,
        account: RunAccount | None = None,
        prices: Prices | None = None,
    ) -> None:
        account = account or RunAccount.open(limits, prices)
        self._prices = prices
        self._limits = limits
        self._emit = emit
        self._clock = _clock()
        self._began = self._clock() - (recorded.seconds if recorded else 0.0)
        self._setting = Setting(
            engine=engine,
            routing=routing,
            dispatch=dispatch,
            join=join,
            sampling=sampling,
            caller=Caller(
                engine,
                account,
                emit,
                self._now,
                executors=routing.cards,
                recorded=recorded,
            ),
            account=account,
            nested=self._nested,
            recorded=recorded,
            emit=emit,
            now=self._now,
        )
        self._context = Context(engine.tokenizer)
        self._turn: PlannerTurn | None = None
        self._stages: list[Stage] = []
        self._rest: list[TokenUsage] = []

    async def run(self, question: str) -> Result:
        """Runs to the answer or to a limit; what was finished by then is in the result.

        Raises QuestionError, EngineError and PlanError.
        """
        if not question.strip():
            raise QuestionError("the question is empty: say what is to be solved")
        if replace_surrogates(question) != question:
            raise QuestionError("the question holds half of a character: decode it as what it is")
        self._emit(events.RunStarted(0.0, question))
        self._context.append(tags.opening(question))
        answer: str | None = None
        limit: LimitName | None = None
        with anyio.move_on_after(self._left()) as scope:
            try:
                answer = await self._turns()
            except BudgetExhausted as exhausted:
                limit = exhausted.limit
        if scope.cancelled_caught:
            limit = "deadline"
        if limit is not None:
            self._keep_unfinished()
        result = Result(
            question=question,
            answer=answer,
            text=self._context.snapshot().text,
            stages=tuple(self._stages),
            answer_usage=add(self._rest),
            seconds=self._now(),
            limit=limit,
            prices=self._prices,
        )
        self._emit(events.RunEnded(self._now(), result))
        return result

    async def _turns(self) -> str:
        turns = 0
        forced = False
        while True:
            turns += 1
            turn = await self._one(forced=forced or turns >= self._limits.stages)
            if turn.answer is not None:
                return turn.answer
            forced = not turn.planned

    async def _one(self, *, forced: bool) -> PlannerTurn:
        number = len(self._stages) + 1
        self._emit(events.StageStarted(self._now(), number))
        if forced:
            self._context.append(tags.force_answer())
        turn = PlannerTurn(self._setting, self._context, number, forced=forced)
        self._turn = turn
        await turn.run()
        if turn.planned:
            self._sync(number, turn)
        else:
            self._context.append_generated(*turn.text())
            self._rest.append(turn.tally.usage)
            self._setting.account.clock.advance(turn.tally.usage.completion_tokens)
        self._turn = None
        return turn

    def _sync(self, number: int, turn: PlannerTurn) -> None:
        """Joins a turn and its executions to the context, in prompt order."""
        stage = turn.stage()
        self._stages.append(stage)
        self._setting.account.clock.advance(stage.sequential_tokens)
        text, ids = turn.text()
        self._context.append_generated(text, ids)
        executions = iter(stage.executions)
        texts = [e.text for e in stage.executions]
        for piece in tags.sync(number, text, texts, stage.verdict):
            execution = next(executions) if piece.role == "execution" else None
            if execution and execution.ids is not None and execution.text == piece.text:
                self._context.append_generated(piece.text, execution.ids)
            else:
                self._context.append(piece.text)
        self._emit(events.StageEnded(self._now(), stage))

    async def _nested(self, nested: Nested, inside: Inside) -> Result:
        """Runs a question inside this run. This run's deadline is around it, as around all here."""
        loop = Loop(
            engine=self._setting.engine,
            routing=Router(nested.executors),
            limits=nested.limits,
            dispatch=self._setting.dispatch,
            join=nested.join,
            sampling=inside.sampling,
            emit=inside.emit,
            recorded=inside.recorded,
            account=inside.account,
            prices=self._prices,
        )
        return await loop.run(nested.question)

    def _keep_unfinished(self) -> None:
        """Keeps what a limit interrupted: the prompts and executions of the turn under way."""
        turn = self._turn
        if turn is None:
            return
        stage = turn.stage()
        if stage.prompts:
            self._stages.append(stage)
        else:
            self._rest.append(turn.tally.usage)

    def _now(self) -> float:
        return self._clock() - self._began

    def _left(self) -> float:
        """Seconds that remain of the deadline."""
        deadline = self._limits.deadline
        return math.inf if deadline is None else deadline - self._now()


def _clock() -> Callable[[], float]:
    """The clock of the event loop. Each token asks it, and anyio's way there looks the loop up anew."""
    try:
        return asyncio.get_running_loop().time
    except RuntimeError:  # another library's loop, trio's
        return anyio.current_time
