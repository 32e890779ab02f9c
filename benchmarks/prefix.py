"""What dispatch costs in prompt tokens that a server's prefix cache does not hold.

SGLang shares a request's prompt at once, but the tokens that it generated only when it has ended. So an
executor that starts while the planner still writes has the plan's own tokens computed again. Three ways
to start executors, on the same puzzles, each run with an empty cache:

* `tag`: at the closing tag of the prompt, while the planner writes on;
* `stage`: when the plan is whole, and its request has ended;
* `split`: at the closing tag, where the planner's request ends as well and another one goes on.

All executions run to their end, so that the server says of each call what it cost.
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
class Call:
    """One request that ended, whose it was, and what it cost."""

    planner: bool
    usage: TokenUsage

    @property
    def uncached(self) -> int:
        """Prompt tokens that the server had to compute."""
        return self.usage.prompt_tokens - self.usage.cached_tokens


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one puzzle. `right` is None where an error ended it, or one of its executions."""

    mode: Mode
    calls: tuple[Call, ...]
    seconds: float
    right: bool | None


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one mode, over the runs in which there was no error.

    Tokens and calls are means, a problem's unless they say otherwise. `uncached` are those prompt
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


class _Before(AlwaysOpen):
    """An engine that stands before another, which somebody else has entered."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self._engine.tokenizer

    @property
    def context_length(self) -> int | None:
        return self._engine.context_length


class Counting(_Before):
    """Keeps what each call that ended has cost."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.calls: list[Call] = []

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
                self.calls.append(Call(planner, event.usage))
            yield event


class Split(_Before):
    """Ends the planner's request at each closing tag of a prompt, and goes on with another.

    What the planner wrote is then in the server's cache when the executor's request comes.
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
        ids = list(request.prompt)
        usages: list[TokenUsage] = []
        left = request.sampling.max_tokens
        while left > 0:
            text, held = "", Delta("")
            async with self._engine.generate(_part(request, ids, left)) as stream:
                async for event in stream:
                    if isinstance(event, Finish):
                        break
                    if held.text:
                        yield held
                    ids += held.ids
                    text, held = text + event.text, event
                else:
                    return
            usages.append(event.usage)
            left -= event.usage.completion_tokens
            number = _open_prompt(text) if event.stop == _PROMPT_STOP else None
            if number is None:
                if held.text:
                    yield held
                yield replace(event, usage=add(usages))
                return
            held = self._closed(held, f"{_PROMPT_STOP}{number}>")
            yield held
            ids += held.ids
        yield Finish("length", add(usages))

    def _closed(self, last: Delta, tag: str) -> Delta:
        """The last delta before a closing tag, with the tag."""
        assert self.tokenizer is not None
        text, ids = last.text, list(last.ids)
        # A token may hold the space before the tag and the tag, so both are encoded as one.
        while ids and not self.tokenizer.decode(ids[-1:]).strip(" "):
            text = text.removesuffix(self.tokenizer.decode([ids.pop()]))
        behind = last.text[len(text) :] + tag
        return Delta(last.text + tag, (*ids, *self.tokenizer.encode(behind)))


def _part(request: Request, ids: list[int], left: int) -> Request:
    """The request that goes on behind `ids`, up to the next closing tag of a prompt."""
    sampling = replace(request.sampling, max_tokens=left)
    return Request(tuple(ids), sampling, (*request.stop, _PROMPT_STOP))


def _open_prompt(text: str) -> str | None:
    """The numbers of the last prompt that `text` opens."""
    numbers = _OPEN.findall(text)
    return numbers[-1] if numbers else None


async def measure(
    puzzles: Sequence[Puzzle], engine: Engine, flush: Callable[[], Awaitable[None]]
) -> AsyncIterator[Run]:
    """Runs each puzzle in each mode; `flush` empties the engine's cache and is called before a run."""
    async with engine:
        for puzzle in puzzles:
            for mode in MODES:
                await flush()
                yield await _run(engine, mode, puzzle)


async def _run(engine: Engine, mode: Mode, puzzle: Puzzle) -> Run:
    counting = Counting(engine)
    agent = Sprint(
        Split(counting) if mode == "split" else counting,
        dispatch="stage" if mode == "stage" else "tag",
        sampling=Sampling(temperature=0.0),
    )
    try:
        result = await agent.solve(puzzle.question)
    except (PlanError, EngineError):
        return Run(mode, tuple(counting.calls), 0.0, None)
    if any(e.status != "done" for stage in result.stages for e in stage.executions):
        return Run(mode, tuple(counting.calls), result.seconds, None)
    right = result.answer is not None and verify(result.answer, puzzle)
    return Run(mode, tuple(counting.calls), result.seconds, right)


async def flush(url: str) -> None:
    """Empties the prefix cache of the SGLang server at `url`. Raises EngineError."""
    try:
        async with httpx2.AsyncClient(base_url=url, timeout=60.0) as client:
            # The server waits that long for requests that are being aborted.
            response = await client.post("/flush_cache", params={"timeout": 30})
            response.raise_for_status()
    except httpx2.HTTPError as error:
        raise EngineError(f"the cache of the server at {url} was not flushed: {error}") from error


def figures(runs: Sequence[Run]) -> Figures:
    """The figures of some runs of one mode."""
    whole = [run for run in runs if run.right is not None]
    calls = [call for run in whole for call in run.calls]
    planners = [call.uncached for call in calls if call.planner]
    executors = [call.uncached for call in calls if not call.planner]
    count = max(1, len(whole))
    return Figures(
        problems=len(runs),
        errors=len(runs) - len(whole),
        uncached=(sum(planners) + sum(executors)) / count,
        uncached_executor_call=sum(executors) / max(1, len(executors)),
        uncached_planner_call=sum(planners) / max(1, len(planners)),
        prompt_tokens=sum(call.usage.prompt_tokens for call in calls) / count,
        executor_calls=len(executors) / count,
        planner_calls=len(planners) / count,
        accuracy=sum(run.right is True for run in runs) / max(1, len(runs)),
        seconds_median=statistics.median([run.seconds for run in whole]) if whole else 0.0,
    )


def to_json(modes: Mapping[str, Figures]) -> dict[str, Any]:
    """The figures of all modes as one JSON object."""
    return {
        "uncached_tokens_per_problem": {mode: f.uncached for mode, f in modes.items()},
        "modes": {mode: asdict(f) for mode, f in modes.items()},
    }
