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
from dataclasses import replace

import anyio

from sprint_agent import events
from sprint_agent.engine import TokenUsage
from sprint_agent.errors import BudgetExhausted, EngineError, QuestionError, SprintError
from sprint_agent.limits import DEFAULT_STAGES, LimitName
from sprint_agent.protocol import tags
from sprint_agent.protocol.context import Context, replace_surrogates
from sprint_agent.result import Result, Stage, add
from sprint_agent.runtime.cancellation import raise_if_cancelled
from sprint_agent.runtime.fit import fit
from sprint_agent.runtime.planner import PlannerTurn
from sprint_agent.runtime.scope import RunScope

_TAGS = 64
"""Ids of the tags around an execution, generously."""


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
        self._fault: str | None = None

    async def run(self) -> Result:
        scope = self._scope
        scope.emit(events.RunStarted(0.0, self._question))
        self._context.append(tags.opening(self._question))
        try:
            answer, limit = await self._until_limit()
        except Exception as error:
            # A cancellation that the error came in place of counts more.
            await raise_if_cancelled()
            self._keep_unfinished()
            result = self._result(None, None)
            described = f"{type(error).__name__}: {error}"
            scope.emit(events.RunFailed(scope.now(), replace_surrogates(described), result))
            if isinstance(error, SprintError):
                error.result = result
            raise
        if limit is not None:
            await raise_if_cancelled()
            self._keep_unfinished()
        result = self._result(answer, limit)
        scope.emit(events.RunEnded(scope.now(), result))
        return result

    async def _until_limit(self) -> tuple[PlannerTurn | None, LimitName | None]:
        """Returns the turn in which the planner answers, or else the limit that is reached."""
        with anyio.move_on_after(self._seconds_left()) as deadline:
            try:
                return await self._turns(), None
            except BudgetExhausted as exhausted:
                return None, exhausted.limit
            except EngineError:
                # An engine may fail because it was cancelled: the deadline counts more.
                if not deadline.cancel_called:
                    raise
        return None, "deadline"

    def _result(self, answered: PlannerTurn | None, limit: LimitName | None) -> Result:
        return Result(
            question=self._question,
            answer=answered.answer if answered else None,
            text=self._context.snapshot().text,
            stages=tuple(self._stages),
            answer_usage=add(self._other_turns),
            seconds=self._scope.now(),
            limit=limit,
            prices=self._scope.prices,
            fault=(answered.fault or self._fault) if answered else None,
        )

    async def _turns(self) -> PlannerTurn:
        turns = 0
        forced = False
        most = self._scope.limits.stages or DEFAULT_STAGES
        while True:
            turns += 1
            turn = await self._one(forced=forced or turns >= most)
            if turn.answer is not None:
                return turn
            forced = not turn.planned
            if forced:
                self._fault = "a turn of the planner had neither a plan nor a final answer"

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
        scope = self._scope
        stage = self._fitted(turn.stage(), turn.text()[1])
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

    def _fitted(self, stage: Stage, plan: tuple[int, ...]) -> Stage:
        """Returns the stage with results that leave the planner room for its next turn."""
        length, tokenizer = self._scope.engine.context_length, self._scope.engine.tokenizer
        if length is None:
            return stage
        used = len(self._context) if tokenizer else len(self._context.snapshot().text) // 2
        # The tags around each result take some ids too.
        used += len(plan) + _TAGS * len(stage.executions)
        next_turn = min(self._scope.sampling.max_tokens, length // 4)
        texts = [execution.text for execution in stage.executions]
        encode = tokenizer.encode if tokenizer else None
        fitted = fit(texts, length - used - next_turn, encode)
        executions = tuple(
            execution if execution.text == text else replace(execution, text=text, ids=None)
            for execution, text in zip(stage.executions, fitted, strict=True)
        )
        return replace(stage, executions=executions)

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
