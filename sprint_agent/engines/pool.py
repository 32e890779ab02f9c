"""Combines several engines of one model. Each run stays on the engine that caches its prefix."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Self

import anyio

from sprint_agent.engine import Delta, Engine, Finish, Request, Tokenizer
from sprint_agent.errors import EngineUnavailable

_REMEMBERED_RUNS = 16_384
"""The most runs whose engine is remembered. The least recently used is forgotten first."""

_AVOIDED_SECONDS = 5.0
"""How long new runs avoid an engine that was unavailable."""


class EnginePool:
    """Distributes runs among engines that serve the same model, such as several SGLang servers.

        Sprint(["http://gpu-1:30000", "http://gpu-2:30000"])

    A run begins on the engine with the fewest open requests. All of its calls go to that engine,
    because its cache contains the run's prefix. If the engine is unavailable, the run moves to another
    engine with its next call, which may be the retry of the failed call.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        """Creates a pool of `engines`, which are entered and left with it.

        Raises:
            ValueError: `engines` is empty.
        """
        if not engines:
            raise ValueError("a pool needs at least one engine")
        self._engines = tuple(engines)
        self._engine_of_run: OrderedDict[str, int] = OrderedDict()
        self._open: Counter[int] = Counter()
        self._avoid_until: dict[int, float] = {}
        self._stack: AsyncExitStack | None = None

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer of the engines."""
        return self._engines[0].tokenizer

    @property
    def context_length(self) -> int | None:
        """The shortest context length of the engines, or None if none of them knows its own."""
        lengths = [engine.context_length for engine in self._engines]
        return min((length for length in lengths if length is not None), default=None)

    async def __aenter__(self) -> Self:
        """Enters all engines.

        Raises:
            EngineUnavailable: An engine cannot be entered, or the engines serve different models.
        """
        if self._stack is not None:
            raise EngineUnavailable("the pool has already been entered: use another one")
        async with AsyncExitStack() as stack:
            for engine in self._engines:
                await stack.enter_async_context(engine)
            sizes = {e.tokenizer and e.tokenizer.vocab_size for e in self._engines}
            if len(sizes) > 1:
                raise EngineUnavailable("the engines of a pool must serve the same model")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leaves all engines."""
        stack, self._stack = self._stack, None
        self._engine_of_run.clear()
        if stack is not None:
            await stack.__aexit__(exc_type, exc, traceback)

    def generate(
        self, request: Request
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta | Finish]]:
        """Streams one answer from the run's engine, as `Engine.generate` does."""
        return self._generate(request)

    @asynccontextmanager
    async def _generate(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta | Finish]]:
        if self._stack is None:
            raise EngineUnavailable("the pool is not entered: use async with EnginePool(…)")
        # A request without a run is treated as a run with one request.
        run = request.run.name if request.run else request.request_id
        chosen = self._choose(run)
        self._open[chosen] += 1
        try:
            async with self._engines[chosen].generate(request) as stream:
                yield stream
        except EngineUnavailable:
            self._engine_of_run.pop(run, None)
            self._avoid_until[chosen] = anyio.current_time() + _AVOIDED_SECONDS
            raise
        finally:
            self._open[chosen] -= 1

    def _choose(self, run: str) -> int:
        """Returns the index of the run's engine, or of the best engine now for a new run."""
        now = anyio.current_time()
        if run not in self._engine_of_run:
            self._engine_of_run[run] = min(
                range(len(self._engines)),
                key=lambda k: (self._avoid_until.get(k, now) > now, self._open[k]),
            )
            if len(self._engine_of_run) > _REMEMBERED_RUNS:
                self._engine_of_run.popitem(last=False)
        self._engine_of_run.move_to_end(run)
        return self._engine_of_run[run]
