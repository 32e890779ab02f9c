"""A simulated engine: fixed latencies, no model. What runs on it does the same in any framework.

A `Graph` says what every run does: `stages` times, the planner writes a plan and its executors write
side by side; then the planner answers. `TimedEngine` says it, token by token, on a `Pace`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
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
    """A token for each tag, as trained models have them, and one for every four other characters."""

    vocab_size = 1 << 20

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._pieces: list[str] = []

    def encode(self, text: str) -> list[int]:
        return [self._id(piece) for piece in _PIECE.findall(text)]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join([self._pieces[i] for i in ids])

    def _id(self, piece: str) -> int:
        found = self._ids.get(piece)
        if found is None:
            found = self._ids[piece] = len(self._pieces)
            self._pieces.append(piece)
        return found


@dataclass(frozen=True, slots=True)
class Pace:
    """Latencies of one call, in seconds: up to its first token, and from each token to the next."""

    first: float = 0.02
    token: float = 0.01


@dataclass(frozen=True, slots=True)
class Graph:
    """What every run does.

    Each of `stages` plans hands on `executors` prompts, and each execution writes `tokens` tokens.
    Before each plan, the planner thinks aloud for `thought` tokens.
    """

    executors: int
    stages: int = 3
    tokens: int = 10
    thought: int = 0

    def turn(self, stage: int) -> tuple[str, str]:
        """What the planner writes in a stage (behind the last, its answer), and the stop behind it."""
        if stage > self.stages:
            return tags.answer(ANSWER), "</Final_answer>"
        tasks = range(1, self.executors + 1)
        prompts = [tags.prompt(stage, n, f"road {n}") for n in tasks]
        return "mmh " * self.thought + tags.plan(stage, prompts), "</Plan_"

    def execution(self) -> tuple[str, str]:
        """What an executor writes, and the stop behind it."""
        return "hum\n" * self.tokens, "</execution_"

    def reply(self, prompt_end: str) -> tuple[str, str]:
        """What a prompt that ends so is answered, and the stop behind it."""
        if _EXECUTION.search(prompt_end):
            return self.execution()
        ended = _STAGE_END.search(prompt_end)
        return self.turn(int(ended[1]) + 1 if ended else 1)


class TimedEngine(AlwaysOpen):
    """Says what a graph says. Token n of a call comes `first + n * token` seconds after its start.

    A reader that is late gets what is due at once, so lateness does not add up within a call. `calls`
    counts the requests.
    """

    context_length = None

    def __init__(self, graph: Graph, pace: Pace) -> None:
        self.graph = graph
        self.pace = pace
        self.tokenizer = PieceTokenizer()
        self.calls = 0
        self._cut = cache(self._tokens)

    @asynccontextmanager
    async def generate(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta | Finish]]:
        self.calls += 1
        yield self._stream(request)

    def critical_path(self, dispatch: Dispatch) -> float:
        """The seconds that a run takes where nothing but the engine takes time."""
        execution, _ = self.graph.execution()
        seconds = self._seconds(self.graph.turn(self.graph.stages + 1)[0])
        for stage in range(1, self.graph.stages + 1):
            plan, _ = self.graph.turn(stage)
            start = self._seconds(plan)
            if dispatch == "tag":
                # Executions last equally long, so the last prompt's ends last.
                start = self._seconds(plan.removesuffix("\n")) - self.pace.token
            seconds += max(self._seconds(plan), start + self._seconds(execution))
        return seconds

    def _seconds(self, text: str) -> float:
        """How long a call takes that says `text` and then its stop, which is a token too."""
        return self.pace.first + len(self._cut(text)) * self.pace.token

    def _tokens(self, text: str) -> list[tuple[int, int, int]]:
        """Start, end and id of each token of `text`."""
        tokens: list[tuple[int, int, int]] = []
        start = 0
        for token in self.tokenizer.encode(text):
            end = start + len(self.tokenizer.decode([token]))
            tokens.append((start, end, token))
            start = end
        return tokens

    async def _stream(self, request: Request) -> AsyncIterator[Delta | Finish]:
        clock = asyncio.get_running_loop().time
        due = clock() + self.pace.first
        text, stop = self.graph.reply(self.tokenizer.decode(request.prompt[-_TAIL_IDS:]))
        tokens = self._cut(text)
        for start, end, token in tokens:
            await _until(due - clock())
            # A new text and a new tuple for each token, as from a real engine: they take memory.
            yield Delta(text[start:end], (token,))
            due += self.pace.token
        await _until(due - clock())
        yield Finish("stop", TokenUsage(len(request.prompt), len(tokens) + 1), stop)


async def _until(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)
