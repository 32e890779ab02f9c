"""Counts the prompt tokens that a server's prefix cache misses, for three ways to start executors.

SGLang shares a request's prompt at once, but the tokens that the request generated only after it has
ended. So if an executor starts while the planner is still writing, the server computes the tokens of the
plan again. All three ways run on the same puzzles, each run with an empty cache:

* `tag`: at the closing tag of the prompt, while the planner continues to write.
* `stage`: when the plan is complete and its request has ended.
* `split`: at the closing tag, and the planner's request ends there too. Another request continues it.

All executions run to their end, so that the server reports the usage of each call.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import httpx2

from sprint_agent import EngineError, PlanError, Sampling, Sprint
from sprint_agent.countdown import Puzzle, verify
from sprint_agent.engine import AlwaysOpen, Delta, Engine, Finish, Request, Tokenizer, TokenUsage
from sprint_agent.protocol import tags
from sprint_agent.result import add

Mode = Literal["tag", "stage", "split"]
MODES: tuple[Mode, ...] = ("tag", "stage", "split")

_PROMPT_STOP = "</prompt_"
_OPEN = re.compile(r"<prompt_(\d{1,4}\.\d{1,4})\b")


@dataclass(frozen=True, slots=True)
class CallUsage:
    """The usage of one request that has ended."""

    planner: bool
    """Whether the planner made the request, else an executor."""
    usage: TokenUsage

    @property
    def uncached(self) -> int:
        """Prompt tokens that the server had to compute."""
        return self.usage.prompt_tokens - self.usage.cached_tokens


@dataclass(frozen=True, slots=True)
class ModeRun:
    """One run of one puzzle in one mode."""

    mode: Mode
    calls: tuple[CallUsage, ...]
    seconds: float
    right: bool | None
    """None if the run or one of its executions ended in an error."""


@dataclass(frozen=True, slots=True)
class ModeSummary:
    """The results of one mode, over the runs without an error.

    Tokens and calls are means per problem, except those of a call. Uncached tokens are the prompt
    tokens that the server had to compute.
    """

    problems: int
    errors: int
    uncached: float
    uncached_executor_call: float
    uncached_planner_call: float
    prompt_tokens: float
    executor_calls: float
    planner_calls: float
    accuracy: float
    seconds_median: float


class _EngineWrapper(AlwaysOpen):
    """An engine in front of another engine, which the caller has opened."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self._engine.tokenizer

    @property
    def context_length(self) -> int | None:
        return self._engine.context_length


class CountingEngine(_EngineWrapper):
    """Records the usage of each call that ends."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.calls: list[CallUsage] = []

    @asynccontextmanager
    async def generate(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta | Finish]]:
        planner = tags.PLANNER_STOPS[0] in request.stop
        async with self._engine.generate(request) as stream:
            yield self._counted(stream, planner)

    async def _counted(
        self, stream: AsyncIterator[Delta | Finish], planner: bool
    ) -> AsyncIterator[Delta | Finish]:
        async for event in stream:
            if isinstance(event, Finish):
                self.calls.append(CallUsage(planner, event.usage))
            yield event


class SplittingEngine(_EngineWrapper):
    """Ends the planner's request at each closing tag of a prompt and continues with another request.

    So the planner's tokens are in the server's cache when the executor's request arrives.
    """

    @asynccontextmanager
    async def generate(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta | Finish]]:
        if tags.PLANNER_STOPS[0] in request.stop:
            async with aclosing(self._split(request)) as stream:
                yield stream
        else:
            async with self._engine.generate(request) as stream:
                yield stream

    async def _split(self, request: Request) -> AsyncGenerator[Delta | Finish]:
        assert not isinstance(request.prompt, str)
        ids = list(request.prompt)
        usages: list[TokenUsage] = []
        remaining = request.sampling.max_tokens
        while remaining > 0:
            # The last delta is not passed on before the next one, because a tag may have to join it.
            text, last = "", Delta("")
            async with self._engine.generate(_continuation(request, ids, remaining)) as stream:
                async for event in stream:
                    if isinstance(event, Finish):
                        break
                    if last.text:
                        yield last
                    ids += last.ids
                    text, last = text + event.text, event
                else:
                    return
            usages.append(event.usage)
            remaining -= event.usage.completion_tokens
            number = _open_prompt(text) if event.stop == _PROMPT_STOP else None
            if number is None:
                if last.text:
                    yield last
                yield replace(event, usage=add(usages))
                return
            last = self._with_tag(last, f"{_PROMPT_STOP}{number}>")
            yield last
            ids += last.ids
        yield Finish("length", add(usages))

    def _with_tag(self, last: Delta, tag: str) -> Delta:
        """Returns the last delta before a closing tag, with the tag appended."""
        assert self.tokenizer is not None
        text, ids = last.text, list(last.ids)
        # One token may contain the space before the tag and the tag, so both are encoded together.
        while ids and not self.tokenizer.decode(ids[-1:]).strip(" "):
            text = text.removesuffix(self.tokenizer.decode([ids.pop()]))
        tail = last.text[len(text) :] + tag
        return Delta(last.text + tag, (*ids, *self.tokenizer.encode(tail)))


def _continuation(request: Request, ids: list[int], remaining: int) -> Request:
    """Returns the request that continues after `ids`, up to the next closing tag of a prompt."""
    sampling = replace(request.sampling, max_tokens=remaining)
    return Request(tuple(ids), sampling, (*request.stop, _PROMPT_STOP))


def _open_prompt(text: str) -> str | None:
    """Returns the numbers of the last prompt that `text` opens, for example "1.2"."""
    numbers = _OPEN.findall(text)
    return numbers[-1] if numbers else None


async def measure(
    puzzles: Sequence[Puzzle], engine: Engine, flush: Callable[[], Awaitable[None]]
) -> AsyncIterator[ModeRun]:
    """Runs each puzzle in each mode. Before each run, `flush` is called to empty the engine's cache."""
    async with engine:
        for puzzle in puzzles:
            for mode in MODES:
                await flush()
                yield await _run(engine, mode, puzzle)


async def _run(engine: Engine, mode: Mode, puzzle: Puzzle) -> ModeRun:
    counting = CountingEngine(engine)
    agent = Sprint(
        SplittingEngine(counting) if mode == "split" else counting,
        dispatch="stage" if mode == "stage" else "tag",
        sampling=Sampling(temperature=0.0),
    )
    try:
        result = await agent.solve(puzzle.question)
    except (PlanError, EngineError):
        return ModeRun(mode, tuple(counting.calls), 0.0, None)
    if any(e.status != "done" for stage in result.stages for e in stage.executions):
        return ModeRun(mode, tuple(counting.calls), result.seconds, None)
    right = result.answer is not None and verify(result.answer, puzzle)
    return ModeRun(mode, tuple(counting.calls), result.seconds, right)


async def flush(url: str) -> None:
    """Empties the prefix cache of the SGLang server at `url`.

    Raises:
        EngineError: The server cannot be reached, or refuses.
    """
    try:
        async with httpx2.AsyncClient(base_url=url, timeout=60.0) as client:
            # The server waits up to this many seconds for requests that are being aborted.
            response = await client.post("/flush_cache", params={"timeout": 30})
            response.raise_for_status()
    except httpx2.HTTPError as error:
        raise EngineError(
            f"cannot empty the prefix cache of the server at {url}: {error}"
        ) from error


def summarize(runs: Sequence[ModeRun]) -> ModeSummary:
    """Summarizes runs of one mode."""
    succeeded = [run for run in runs if run.right is not None]
    calls = [call for run in succeeded for call in run.calls]
    planners = [call.uncached for call in calls if call.planner]
    executors = [call.uncached for call in calls if not call.planner]
    count = max(1, len(succeeded))
    return ModeSummary(
        problems=len(runs),
        errors=len(runs) - len(succeeded),
        uncached=(sum(planners) + sum(executors)) / count,
        uncached_executor_call=sum(executors) / max(1, len(executors)),
        uncached_planner_call=sum(planners) / max(1, len(planners)),
        prompt_tokens=sum(call.usage.prompt_tokens for call in calls) / count,
        executor_calls=len(executors) / count,
        planner_calls=len(planners) / count,
        accuracy=sum(run.right is True for run in runs) / max(1, len(runs)),
        seconds_median=statistics.median([run.seconds for run in succeeded]) if succeeded else 0.0,
    )


def to_json(modes: Mapping[Mode, ModeSummary]) -> dict[str, Any]:
    """Returns the results of all modes as one JSON object."""
    return {
        "uncached_tokens_per_problem": {mode: summary.uncached for mode, summary in modes.items()},
        "modes": {mode: asdict(summary) for mode, summary in modes.items()},
    }
