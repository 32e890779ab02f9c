"""The planning loop: plan, execute, sync, stage after stage, until the planner answers.

    context = opening(question)
    until the answer:
        turn: the planner writes, and its prompts are executed          planner.py
        sync: the turn and its executions join the context, in prompt order

The last turn that the limit on stages allows must be the answer. So must the turn after one that held
neither a plan nor an answer.
"""

from __future__ import annotations

import math

import anyio

from sprint_agent import events
from sprint_agent.engine import TokenUsage
from sprint_agent.errors import BudgetExhausted, QuestionError
from sprint_agent.limits import DEFAULT_STAGES, LimitName
from sprint_agent.protocol import tags
from sprint_agent.protocol.context import Context, replace_surrogates
from sprint_agent.result import Result, Stage, add
from sprint_agent.runtime.planner import PlannerTurn
from sprint_agent.runtime.scope import RunScope


async def run(scope: RunScope, question: str) -> Result:
    """Runs a question to its answer or to a limit. The result contains what was finished by then.

    Raises:
        QuestionError: The question is empty, or it contains an unpaired surrogate.
        EngineError: A call of the planner failed.
        PlanError: The planner wrote what cannot be run, and its repair cannot either.
    """
    if not question.strip():
        raise QuestionError("the question is empty: say what is to be solved")
    if replace_surrogates(question) != question:
        raise QuestionError(
            "the question contains an unpaired surrogate: decode the input as UTF-8"
        )
    return await _Loop(scope, question).run()


class _Loop:
    def __init__(self, scope: RunScope, question: str) -> None:
        self._scope = scope
        self._question = question
        self._context = Context(scope.engine.tokenizer)
        self._turn: PlannerTurn | None = None
        self._stages: list[Stage] = []
        self._other_turns: list[TokenUsage] = []

    async def run(self) -> Result:
        scope = self._scope
        scope.emit(events.RunStarted(0.0, self._question))
        self._context.append(tags.opening(self._question))
        answer: str | None = None
        limit: LimitName | None = None
        with anyio.move_on_after(self._seconds_left()) as deadline:
            try:
                answer = await self._turns()
            except BudgetExhausted as exhausted:
                limit = exhausted.limit
        if deadline.cancelled_caught:
            limit = "deadline"
        if limit is not None:
            self._keep_unfinished()
        result = Result(
            question=self._question,
            answer=answer,
            text=self._context.snapshot().text,
            stages=tuple(self._stages),
            answer_usage=add(self._other_turns),
            seconds=scope.now(),
            limit=limit,
            prices=scope.prices,
        )
        scope.emit(events.RunEnded(scope.now(), result))
        return result

    async def _turns(self) -> str:
        turns = 0
        forced = False
        most = self._scope.limits.stages or DEFAULT_STAGES
        while True:
            turns += 1
            turn = await self._one(forced=forced or turns >= most)
            if turn.answer is not None:
                return turn.answer
            forced = not turn.planned

    async def _one(self, *, forced: bool) -> PlannerTurn:
        scope, number = self._scope, len(self._stages) + 1
        scope.emit(events.StageStarted(scope.now(), number))
        if forced:
            self._context.append(tags.force_answer())
        turn = self._turn = PlannerTurn(scope, self._context, number, forced=forced)
        await turn.run()
        if turn.planned:
            self._sync(turn)
        else:
            self._context.append_generated(*turn.text())
            self._other_turns.append(turn.usage.usage)
            scope.account.clock.advance(turn.usage.usage.completion_tokens)
        self._turn = None
        return turn

    def _sync(self, turn: PlannerTurn) -> None:
        """Joins a turn and its executions to the context, in prompt order."""
        scope, stage = self._scope, turn.stage()
        self._stages.append(stage)
        scope.account.clock.advance(stage.sequential_tokens)
        text, ids = turn.text()
        self._context.append_generated(text, ids)
        executions = iter(stage.executions)
        texts = [execution.text for execution in stage.executions]
        for piece in tags.sync(stage.number, text, texts, stage.verdict):
            execution = next(executions) if piece.role == "execution" else None
            if execution and execution.text == piece.text:
                self._context.append_execution(piece.text, execution.ids)
            else:
                self._context.append(piece.text)
        scope.emit(events.StageEnded(scope.now(), stage))

    def _keep_unfinished(self) -> None:
        """Keeps the prompts and executions of the turn that a limit interrupted."""
        if self._turn is None:
            return
        stage = self._turn.stage()
        if stage.prompts:
            self._stages.append(stage)
        else:
            self._other_turns.append(self._turn.usage.usage)

    def _seconds_left(self) -> float:
        """Returns the seconds until the deadline."""
        deadline = self._scope.limits.deadline
        return math.inf if deadline is None else deadline - self._scope.now()
