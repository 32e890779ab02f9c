"""Several engines of one model as one: each run stays where its prefix is cached."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Self

import anyio

from sprint_agent.engine import Delta, Engine, Finish, Request, Tokenizer
from sprint_agent.errors import EngineUnavailable

_HOMES = 16_384
"""Runs whose engine is remembered; those that called longest ago are forgotten first."""

_AVOIDED_SECONDS = 5.0
"""How long new runs pass an engine by that was unavailable."""


class EnginePool:
    """Shares runs out among engines that serve the same model, such as several SGLang servers.

        Sprint(["http://gpu-1:30000", "http://gpu-2:30000"])

    A run begins on the engine with the fewest open requests, and all of its calls go there, since
    its prefix lies in that one's cache. Where that engine is unavailable, the run moves on to another
    with its next call, the retry of the failed one included.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        """ValueError for no engines."""
        if not engines:
            raise ValueError("a pool needs at least one engine")
        self._engines = tuple(engines)
        self._homes: OrderedDict[str, int] = OrderedDict()
        self._open: Counter[int] = Counter()
        self._avoid_until: dict[int, float] = {}
        self._stack: AsyncExitStack | None = None

    @property
    def tokenizer(self) -> Tokenizer | None:
        """That of the engines."""
        return self._engines[0].tokenizer

    @property
    def context_length(self) -> int | None:
        """The shortest of the engines'; None where none of them knows."""
        lengths = [engine.context_length for engine in self._engines]
        return min((length for length in lengths if length is not None), default=None)

    async def __aenter__(self) -> Self:
        """Enters all engines. EngineUnavailable where one cannot be, or their models differ."""
        if self._stack is not None:
            raise EngineUnavailable("the pool is entered already; use another one")
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
        self._homes.clear()
        if stack is not None:
            await stack.__aexit__(exc_type, exc, traceback)

    def generate(
        self, request: Request
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta | Finish]]:
        """Streams one answer of the run's engine; see the protocol."""
        return self._generate(request)

    @asynccontextmanager
    async def _generate(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta | Finish]]:
        if self._stack is None:
            raise EngineUnavailable("the pool is not entered: async with EnginePool(…)")
        # A request of no run stands for itself.
        run = request.run.name if request.run else request.request_id
        chosen = self._home(run)
        self._open[chosen] += 1
        try:
            async with self._engines[chosen].generate(request) as stream:
                yield stream
        except EngineUnavailable:
            self._homes.pop(run, None)
            self._avoid_until[chosen] = anyio.current_time() + _AVOIDED_SECONDS
            raise
        finally:
            self._open[chosen] -= 1

    def _home(self, run: str) -> int:
        """The engine of a run: the one that it has, else the best one now."""
        now = anyio.current_time()
        if run not in self._homes:
            self._homes[run] = min(
                range(len(self._engines)),
                key=lambda k: (self._avoid_until.get(k, now) > now, self._open[k]),
            )
            if len(self._homes) > _HOMES:
                self._homes.popitem(last=False)
        self._homes.move_to_end(run)
        return self._homes[run]
