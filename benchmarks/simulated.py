"""A simulated engine with fixed latencies and no model. It behaves the same for any framework.

A `Graph` describes every run: in each of `stages` stages the planner writes a plan and its executors
write concurrently. After the last stage the planner answers. `TimedEngine` writes these texts token by
token, with the given `Latency`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import cache

from sprint_agent.engine import AlwaysOpen, Delta, Finish, Request, TokenUsage
from sprint_agent.protocol import tags
from sprint_agent.runtime.scope import Dispatch

QUESTION = "Which of these roads is the shortest? " * 20
"""About 200 tokens."""
ANSWER = "42"

_PIECE = re.compile(r"</?[A-Za-z_]+[\d.]*>|[^<]{1,4}|<")
_EXECUTION = re.compile(r"<execution_\d+\.\d+>\n\Z")
_STAGE_END = re.compile(r"</Execution_(\d+)>\n\n\Z")
_TAIL_IDS = 4


class PieceTokenizer:
    """One token for each tag, as trained models have, and one for every four other characters."""

    vocab_size = 1 << 20

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._pieces: list[str] = []

    def encode(self, text: str) -> list[int]:
        return [self._id(piece) for piece in _PIECE.findall(text)]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join([self._pieces[i] for i in ids])

    def _id(self, piece: str) -> int:
        known = self._ids.get(piece)
        if known is None:
            known = self._ids[piece] = len(self._pieces)
            self._pieces.append(piece)
        return known


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies of one call, in seconds."""

    first: float = 0.02
    """From the start of the call to its first token."""
    token: float = 0.01
    """From each token to the next."""


@dataclass(frozen=True, slots=True)
class Graph:
    """What every run does."""

    executors: int
    """Prompts of each plan."""
    stages: int = 3
    tokens: int = 10
    """Tokens that each execution writes."""
    thought: int = 0
    """Tokens that the planner writes before each plan."""

    def turn(self, stage: int) -> tuple[str, str]:
        """Returns the planner's text for a stage, and the stop string after it.

        After the last stage the text is the answer.
        """
        if stage > self.stages:
            return tags.answer(ANSWER), "</Final_answer>"
        numbers = range(1, self.executors + 1)
        prompts = [tags.prompt(stage, n, f"road {n}") for n in numbers]
        return "mmh " * self.thought + tags.plan(stage, prompts), "</Plan_"

    def execution(self) -> tuple[str, str]:
        """Returns an executor's text, and the stop string after it."""
        return "hum\n" * self.tokens, "</execution_"

    def reply(self, prompt_end: str) -> tuple[str, str]:
        """Returns the reply to a prompt with this end, and the stop string after it."""
        if _EXECUTION.search(prompt_end):
            return self.execution()
        ended = _STAGE_END.search(prompt_end)
        return self.turn(int(ended[1]) + 1 if ended else 1)


class TimedEngine(AlwaysOpen):
    """Writes the texts of a graph.

    Token n of a call arrives `first + n * token` seconds after the call's start. If a reader is late, it
    gets all tokens that are due at once, so delays do not add up within a call.

    `calls` counts the requests.
    """

    context_length = None

    def __init__(self, graph: Graph, latency: Latency) -> None:
        self.graph = graph
        self.latency = latency
        self.tokenizer = PieceTokenizer()
        self.calls = 0
        self._split = cache(self._tokens)

    @asynccontextmanager
    async def generate(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta | Finish]]:
        self.calls += 1
        # Closed here: a generator that is left to the event loop costs a task.
        async with aclosing(self._stream(request)) as stream:
            yield stream

    def critical_path(self, dispatch: Dispatch) -> float:
        """Returns the seconds that a run takes if nothing but the engine takes time."""
        execution, _ = self.graph.execution()
        seconds = self._seconds(self.graph.turn(self.graph.stages + 1)[0])
        for stage in range(1, self.graph.stages + 1):
            plan, _ = self.graph.turn(stage)
            start = self._seconds(plan)
            if dispatch == "tag":
                # All executions take equally long, so the execution of the last prompt ends last.
                start = self._seconds(plan.removesuffix("\n")) - self.latency.token
            seconds += max(self._seconds(plan), start + self._seconds(execution))
        return seconds

    def _seconds(self, text: str) -> float:
        """Returns the seconds of a call that writes `text` and then its stop string, one more token."""
        return self.latency.first + len(self._split(text)) * self.latency.token

    def _tokens(self, text: str) -> list[tuple[int, int, int]]:
        """Returns the start, the end and the id of each token of `text`."""
        tokens: list[tuple[int, int, int]] = []
        start = 0
        for token in self.tokenizer.encode(text):
            end = start + len(self.tokenizer.decode([token]))
            tokens.append((start, end, token))
            start = end
        return tokens

    async def _stream(self, request: Request) -> AsyncGenerator[Delta | Finish]:
        assert not isinstance(request.prompt, str)
        clock = asyncio.get_running_loop().time
        due = clock() + self.latency.first
        text, stop = self.graph.reply(self.tokenizer.decode(request.prompt[-_TAIL_IDS:]))
        tokens = self._split(text)
        for start, end, token in tokens:
            await _sleep(due - clock())
            # A new string and a new tuple for each token, as from a real engine: they take memory.
            yield Delta(text[start:end], (token,))
            due += self.latency.token
        await _sleep(due - clock())
        yield Finish("stop", TokenUsage(len(request.prompt), len(tokens) + 1), stop)


async def _sleep(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)
