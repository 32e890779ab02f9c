"""The outcome of a run and its metrics, which are computed here and nowhere else.

Tokens are counted as the engine samples them. Tags, stop strings, discarded attempts and stopped
executions count too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sprint_agent.engine import TokenUsage
from sprint_agent.errors import LimitReached
from sprint_agent.limits import LimitName, Prices

ExecutionStatus = Literal["done", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A task that the planner gave to an executor."""

    number: int
    """Its number in the stage, from 1."""
    text: str
    executor: str | None
    """The name that the planner wrote, None for the model."""
    tokens: int
    """Tokens that the planner had written in the stage when the executor could start."""


class _Caused:
    """Keeps an exception beside the fields of a dataclass: it is neither written nor compared."""

    __slots__ = ("_exception",)


@dataclass(frozen=True, slots=True)
class Execution(_Caused):
    """What became of a prompt."""

    stage: int
    number: int
    executor: str
    status: ExecutionStatus
    text: str
    """The text in the context: the executor's result, or a line that it failed or was stopped."""
    usage: TokenUsage
    started: float | None
    """Seconds since the run began, None if it was stopped before it started."""
    ended: float
    """Seconds since the run began."""
    error: str | None = None
    """Why it failed."""
    slot_free_at: int = 0
    """Tokens into the stage, on the critical path, after which the slot that it waited for came free.

    0 if it did not wait.
    """
    ids: tuple[int, ...] | None = None
    """The ids of `text` if the model generated it."""
    parallel_tokens: int = 0
    """Of its tokens, those off its critical path: a nested run generated them beside others.

    Tokens of other executions that it waited for, to get its slot back, are subtracted.
    """

    @property
    def exception(self) -> BaseException | None:
        """What the executor raised, with its traceback. None if the execution is from a trace."""
        return getattr(self, "_exception", None)

    def caused_by(self, error: BaseException) -> Execution:
        """Sets what the executor raised, and returns this execution."""
        object.__setattr__(self, "_exception", error)
        return self

    @property
    def seconds(self) -> float:
        """How long it took, without the time that it waited for a slot."""
        return 0.0 if self.started is None else self.ended - self.started

    @property
    def sequential_tokens(self) -> int:
        """Tokens on its critical path: E_k of `Stage.sequential_tokens`."""
        return self.usage.completion_tokens - self.parallel_tokens


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check of a stage decided (see `first_success`)."""

    accepted: int | None
    """The number of the execution that the check accepted, None if it accepted none."""
    remark: str = ""
    """The text that the check returned about that execution."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A plan, its prompts and, in the same order, its executions."""

    number: int
    plan: str
    prompts: tuple[Prompt, ...]
    executions: tuple[Execution, ...]
    usage: TokenUsage
    """What the planner's calls cost."""
    verdict: Verdict | None = None
    """What the check decided, None if no check ran."""
    seconds_after_plan: float = 0.0
    """How long the executions ran on after the plan was written."""

    @property
    def check_ran(self) -> bool:
        """Whether a check could have ended the stage early."""
        return self.verdict is not None

    @property
    def accepted(self) -> Execution | None:
        """The execution that the check accepted, which ended the stage. None if there is none."""
        if self.verdict is None or self.verdict.accepted is None:
            return None
        return self.executions[self.verdict.accepted - 1]

    @property
    def sequential_tokens(self) -> int:
        """Tokens on the stage's critical path: max over k of P_k + E_k (the paper, section 5).

        P_k are the planner's tokens up to the end of prompt k, and E_k those of execution k. An
        execution that had to wait starts when its slot came free. A stage that waits for all of its
        executions lasts at least as long as its plan. A stage that ended early lasts as long as the
        execution that ended it.
        """
        ends: dict[int, int] = {}
        for execution, prompt in zip(self.executions, self.prompts, strict=True):
            start = max(prompt.tokens, execution.slot_free_at)
            ends[execution.number] = start + execution.sequential_tokens
        if self.accepted is not None:
            return ends[self.accepted.number]
        return max(self.usage.completion_tokens, *ends.values(), 0)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run cost, in tokens.

    All calls of the engine count, also those that failed or were stopped.
    """

    prompt_tokens: int
    """Tokens of all prompts that were sent."""
    completion_tokens: int
    """Tokens that the engine generated."""
    sequential_tokens: int
    """Generated tokens on the critical path, one after another (the paper, section 5).

    On the path of a nested run, tokens of others count if it waited for them to get a slot.
    """
    cached_tokens: int
    """Of `prompt_tokens`, those that the engine took from its prefix cache."""

    @property
    def total_tokens(self) -> int:
        """Prompt tokens and generated tokens together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a run."""

    question: str
    answer: str | None
    """The content of `\\boxed{…}`, or the whole final answer without one. None if a limit came first."""
    text: str
    """The whole context at the end."""
    stages: tuple[Stage, ...]
    answer_usage: TokenUsage
    """What the turns cost that are not part of a stage. The last turn is one of them."""
    seconds: float
    """The time from the question to the answer."""
    limit: LimitName | None = None
    """The limit that ended the run."""
    prices: Prices | None = None
    """The agent's prices."""
    fault: str | None = None
    """How the planner departed from the format in its answer, None if it did not.

    The planner was asked once more, and what it wrote then is the answer all the same.
    """

    @property
    def usage(self) -> Usage:
        """What the run cost."""
        calls = [self.answer_usage]
        for stage in self.stages:
            calls += [stage.usage, *(execution.usage for execution in stage.executions)]
        sequential = sum(stage.sequential_tokens for stage in self.stages)
        return Usage(
            prompt_tokens=sum(call.prompt_tokens for call in calls),
            completion_tokens=sum(call.completion_tokens for call in calls),
            sequential_tokens=sequential + self.answer_usage.completion_tokens,
            cached_tokens=sum(call.cached_tokens for call in calls),
        )

    @property
    def work_seconds(self) -> float:
        """The working time of planner and executions, added up.

        `seconds` is the critical path, so `work_seconds / seconds` is the speed-up of parallel work.
        """
        executions = [execution for stage in self.stages for execution in stage.executions]
        waited = sum(stage.seconds_after_plan for stage in self.stages)
        return self.seconds - waited + sum(execution.seconds for execution in executions)

    @property
    def cost(self) -> float | None:
        """What the run cost, by the agent's prices. None without prices."""
        used = self.usage
        if self.prices is None:
            return None
        return self.prices.cost(used.prompt_tokens, used.completion_tokens, used.cached_tokens)

    @property
    def parallelization_ratio(self) -> float:
        """Executions per stage, as the code of the paper's authors counts it. 0 without stages."""
        executions = sum(len(stage.executions) for stage in self.stages)
        return executions / len(self.stages) if self.stages else 0.0

    def raise_for_limit(self) -> None:
        """Does nothing if the run reached its answer.

        Raises:
            LimitReached: A limit ended the run. The error contains this result.
        """
        if self.limit is not None:
            message = f"the limit {self.limit} ended the run: raise it, or use the partial result"
            raise LimitReached(message, limit=self.limit, result=self)

    def to_json(self) -> dict[str, Any]:
        """Returns the result as a JSON object."""
        return {
            "question": self.question,
            "answer": self.answer,
            "fault": self.fault,
            "limit": self.limit,
            "stages": [_stage_json(stage) for stage in self.stages],
            "usage": {**asdict(self.usage), "total_tokens": self.usage.total_tokens},
            "cost": self.cost,
            "parallelization_ratio": self.parallelization_ratio,
            "seconds": self.seconds,
            "work_seconds": self.work_seconds,
        }


def _stage_json(stage: Stage) -> dict[str, Any]:
    value = asdict(stage)
    for execution in value["executions"]:
        del execution["ids"]
    return value


def add(usages: Sequence[TokenUsage]) -> TokenUsage:
    """Returns what several calls cost together."""
    prompt = completion = cached = 0
    for usage in usages:
        prompt += usage.prompt_tokens
        completion += usage.completion_tokens
        cached += usage.cached_tokens
    return TokenUsage(prompt, completion, cached)
