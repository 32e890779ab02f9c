"""The options that `sprint solve` and `sprint resume` share, and the agent that they describe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter, Token

from sprint_agent.agent import Sprint
from sprint_agent.cli.load_executor import load_executor
from sprint_agent.countdown import Puzzle, SmallerPuzzle
from sprint_agent.countdown import solver as countdown
from sprint_agent.engine import Sampling
from sprint_agent.errors import QuestionError, SprintError
from sprint_agent.limits import Limits

EXAMPLE = "'Use 3, 5, 7 and 11 to make 24.'"
_OTHER_ENGINE = (
    "the shipped model solves Countdown puzzles only: name another engine by --engine, "
    "for example --engine 'openai+http://127.0.0.1:11434/v1#qwen3:4b'"
)

_ENGINES = Group("Engine", sort_key=1)
_EXECUTORS = Group("Executors", sort_key=2)
_LIMITS = Group("Limits", sort_key=3)
OUTPUT = Group("Output", sort_key=4)
_CONFIGURATION = Group("Configuration", sort_key=5)


def _whole_number(kind: object, tokens: Sequence[Token]) -> int:
    """Reads a whole number. cyclopts would round others."""
    value = tokens[0].value
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{value} is not a whole number") from None


_WHOLE_LIMIT = Parameter(group=_LIMITS, converter=_whole_number)


class OptionError(SprintError):
    """The options describe no agent: one has a wrong value, or two contradict each other."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The engine, the executors and the limits of a run, and how it is shown.

    Parameters
    ----------
    engine
        The engine of the model: the URL of an SGLang server, openai+URL#MODEL for a chat model on an
        OpenAI-compatible server, or the folder of a model. The default is the shipped model, which
        solves Countdown puzzles only.
    model
        The model of an OpenAI-compatible server, if --engine is openai+URL without #MODEL.
    executor_engine
        Another engine, which executors use to generate text. It is named like --engine, the default.
    executor
        An executor besides the model, for example tools:search for `search` in tools.py. It is an
        executor object, a function with the decorator @executor, or a class that is called without
        arguments. The current folder is searched first. Repeat the option for several.
    dispatch
        When an executor starts: when its prompt is complete (tag), or when the whole plan is (stage).
    sequential
        Run one executor at a time, after the plan is complete. This shows what running them side by
        side gains. It replaces --dispatch and --concurrency.
    deadline
        Seconds from the beginning of the run to its end.
    tokens
        Tokens that the run generates at most.
    stages
        Turns of the planner at most. The last one must be the answer.
    concurrency
        Executions that run at the same time at most.
    json
        Print the result as one JSON object, and nothing before it.
    config
        A TOML file with options, in its section [sprint] or at its top level. Its keys are the names of
        the options. The command line takes precedence.
    """

    engine: Annotated[str | None, Parameter(group=_ENGINES)] = None
    model: Annotated[str | None, Parameter(group=_ENGINES)] = None
    executor_engine: Annotated[str | None, Parameter(group=_ENGINES)] = None
    executor: Annotated[tuple[str, ...], Parameter(group=_EXECUTORS, show_default=False)] = ()
    dispatch: Annotated[Literal["tag", "stage"], Parameter(group=_EXECUTORS)] = "tag"
    sequential: Annotated[bool, Parameter(group=_EXECUTORS, show_default=False)] = False
    deadline: Annotated[float | None, Parameter(group=_LIMITS)] = None
    tokens: Annotated[int | None, _WHOLE_LIMIT] = None
    stages: Annotated[int | None, _WHOLE_LIMIT] = None
    concurrency: Annotated[int | None, _WHOLE_LIMIT] = None
    json: Annotated[bool, Parameter(group=OUTPUT, show_default=False)] = False
    config: Annotated[Path | None, Parameter(group=_CONFIGURATION)] = None

    def puzzle(self, question: str) -> Puzzle | None:
        """Returns the Countdown puzzle that the question asks, None if it asks something else.

        Raises:
            QuestionError: The question is empty, or the shipped model cannot solve it.
        """
        if not question.strip():
            raise QuestionError(f"the question is empty: ask one, such as {EXAMPLE}")
        try:
            return Puzzle.parse(question)
        except QuestionError as error:
            if self.engine is None:
                raise QuestionError(f"{error}; {_OTHER_ENGINE}") from error
            return None

    def agent(self, puzzle: Puzzle | None) -> Sprint:
        """Returns the agent for a puzzle, or for any other question if `puzzle` is None.

        The agent checks the executions of a puzzle, samples greedily and solves smaller puzzles in
        nested runs, with any engine.

        Raises:
            OptionError: An option has a wrong value, or two options contradict each other.
            EngineUnavailable: The engine needs an extra that is not installed, or names no model.
        """
        greedy = countdown.SAMPLING if self.engine is None else Sampling(temperature=0.0)
        engine = self._engine()
        given = [load_executor(address) for address in self.executor]
        try:
            return Sprint(
                engine,
                executors=[*given, *((SmallerPuzzle(),) if puzzle else ())],
                executor_engine=self.executor_engine,
                limits=self._limits(),
                dispatch="stage" if self.sequential else self.dispatch,
                join=countdown.solved(puzzle) if puzzle else "all",
                sampling=greedy if puzzle else Sampling(),
            )
        except (TypeError, ValueError) as error:
            raise OptionError(str(error)) from error

    def _engine(self) -> str | Path:
        engine, model = self.engine, self.model
        if model is None:
            return countdown.MODEL if engine is None else engine
        if engine is None or not engine.startswith("openai+"):
            raise OptionError(
                f"--model {model} needs an OpenAI-compatible server: add --engine openai+URL"
            )
        if "#" in engine:
            raise OptionError(
                f"--engine {engine} names a model, and --model {model} too: leave one of them out"
            )
        return f"{engine}#{model}"

    def _limits(self) -> Limits:
        base = countdown.LIMITS if self.engine is None else Limits()
        concurrency = base.concurrency if self.concurrency is None else self.concurrency
        return replace(
            base,
            deadline=self.deadline,
            tokens=self.tokens,
            stages=base.stages if self.stages is None else self.stages,
            concurrency=1 if self.sequential else concurrency,
        )
