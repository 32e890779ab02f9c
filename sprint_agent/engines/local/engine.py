"""The engine that runs a model folder in this process, on the CPU: no server and no network."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio
import anyio.to_thread

from sprint_agent.engine import Delta, Finish, FinishReason, Request, Tokenizer, TokenUsage
from sprint_agent.engines.stops import AnswerReader
from sprint_agent.engines.validate import checked_prompt
from sprint_agent.errors import EngineError, EngineUnavailable, RequestRefused
from sprint_agent.extras import install_hint

if TYPE_CHECKING:
    from sprint_agent.engines.local.batcher import Batcher, Progress, SamplerState

_FILES = ("config.json", "tokenizer.json")


class LocalEngine:
    """Generates with the model of a Hugging Face folder, in float32 on the CPU.

    transformers' continuous batching runs in its own thread and computes many requests in each step.
    Requests that do not fit into the cache wait in its queue. Temperature, top_p and seed apply to
    each request separately. With a seed, a request uses the same random numbers whatever other
    requests run at the same time. But the other requests change the order in which its scores are
    computed, so the last bits of the scores may differ, and two tokens with equal scores to that
    precision may be exchanged.

    Entering the engine needs the extra `local`. It can be used only in the asyncio event loop in which
    it was entered.
    """

    def __init__(self, model: str | os.PathLike[str], *, cache_tokens: int = 32_768) -> None:
        """Prepares an engine. Nothing is read before it is entered.

        Args:
            model: The folder of the model (config.json, weights, tokenizer.json).
            cache_tokens: How many ids the cache contains, for all requests together. The prompt and
                answer of each request must fit into it.
        """
        self._folder = Path(model)
        self._cache_tokens = cache_tokens
        self._batcher: Batcher | None = None
        self._failure: EngineError | None = None
        self._streams: dict[str, _Stream] = {}

    @property
    def tokenizer(self) -> Tokenizer:
        """The folder's tokenizer.

        Raises:
            EngineUnavailable: The engine is not entered.
        """
        return self._entered().tokenizer

    @property
    def context_length(self) -> int:
        """The most ids that a prompt and its answer may have together.

        Raises:
            EngineUnavailable: The engine is not entered.
        """
        return self._entered().context_length

    @property
    def in_flight(self) -> int:
        """The number of requests that are being read, queued, running or being cancelled."""
        known = set(self._streams)
        if self._batcher is not None and self._failure is None:
            known |= self._batcher.known_ids()
        return len(known)

    async def __aenter__(self) -> Self:
        """Loads the model and starts its thread.

        Raises:
            EngineUnavailable: The model cannot be loaded, the extra `local` is not installed, or the
                engine has already been entered.
        """
        if self._batcher is not None:
            raise EngineUnavailable("the local engine has already been entered: use another one")
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError as error:
            raise EngineUnavailable(
                "the local engine needs asyncio: run the program without trio, or use another engine"
            ) from error
        # A cancellation, such as Ctrl-C, does not wait until a large model is loaded.
        batcher = await anyio.to_thread.run_sync(self._load, loop, abandon_on_cancel=True)
        batcher.start()
        self._batcher, self._failure = batcher, None
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends the thread. Streams that are still being read raise EngineUnavailable."""
        batcher, self._batcher = self._batcher, None
        self._fail_all(EngineUnavailable("the local engine was left while this answer was read"))
        if batcher is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(batcher.stop)

    def generate(
        self, request: Request
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta | Finish]]:
        """Streams one answer, as `Engine.generate` does.

        Raises:
            RequestRefused: On entering: the request cannot be run.
            ContextTooLong: On entering: the prompt leaves no room for an answer.
            EngineUnavailable: On entering: the engine is not entered or has failed. On reading: the
                engine was left.
            EngineError: On reading: the engine failed.
        """
        return self._generate(request)

    @asynccontextmanager
    async def _generate(self, request: Request) -> AsyncGenerator[_Stream]:
        batcher = self._entered()
        if self._failure is not None:
            raise EngineUnavailable(f"{self._failure}: enter a new engine") from self._failure
        stream = self._open(batcher, request)
        try:
            yield stream
        finally:
            if self._streams.pop(request.request_id, None) is not None:
                batcher.cancel(request.request_id)

    def _open(self, batcher: Batcher, request: Request) -> _Stream:
        """Checks a request and queues it."""
        from sprint_agent.engines.local.batcher import SamplerState

        prompt = checked_prompt(request, batcher.vocab_size, batcher.context_length)
        sampling = request.sampling
        if request.request_id in self._streams:
            raise RequestRefused(f"request {request.request_id} is running already")
        sampler = SamplerState(sampling.temperature, sampling.top_p, sampling.seed)
        stream = _Stream(
            AnswerReader(batcher.tokenizer, request.stop), len(prompt), batcher.end_ids, sampler
        )
        self._streams[request.request_id] = stream
        room = batcher.context_length - len(prompt)
        batcher.submit(request.request_id, prompt, min(sampling.max_tokens, room), sampler)
        return stream

    def _load(self, loop: asyncio.AbstractEventLoop) -> Batcher:
        """Loads the model in a worker thread. Its callbacks will run in `loop`."""
        missing = [name for name in _FILES if not (self._folder / name).is_file()]
        if missing:
            raise EngineUnavailable(
                f"{self._folder} is not a model folder because it has no {' and no '.join(missing)}: "
                "give the folder that save_pretrained wrote"
            )
        try:
            from sprint_agent.engines.local import batcher
        except ImportError as error:
            raise EngineUnavailable(
                f"the local engine needs torch and transformers ({error}): {install_hint('local')}"
            ) from error

        def deliver(outputs: list[Progress]) -> None:
            # RuntimeError means that the loop is closed. Then there are no readers left.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._on_outputs, outputs)

        def on_stop(error: Exception | None) -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._on_stop, error)

        try:
            return batcher.load(self._folder, self._cache_tokens, deliver, on_stop)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise EngineUnavailable(
                f"cannot load the model in {self._folder} ({reason}): "
                "check that its files are complete and that transformers knows its architecture"
            ) from error

    def _entered(self) -> Batcher:
        if self._batcher is None:
            raise EngineUnavailable(
                "the local engine is not entered: use async with LocalEngine(…)"
            )
        return self._batcher

    def _on_outputs(self, outputs: list[Progress]) -> None:
        """Takes the outputs of one step. Runs in the event loop."""
        for output in outputs:
            stream = self._streams.get(output.request_id)
            if stream is None:
                continue
            if stream.receive(output):
                del self._streams[output.request_id]
                if not output.ended and self._batcher is not None:
                    self._batcher.cancel(output.request_id)

    def _on_stop(self, error: Exception | None) -> None:
        """Ends the streams that wait for the ended thread, unless the engine was left."""
        if self._batcher is not None:
            reason = error or "it ended without an error"
            self._failure = EngineError(f"the local engine's batching thread failed: {reason}")
            self._fail_all(self._failure)

    def _fail_all(self, error: EngineError) -> None:
        for stream in self._streams.values():
            stream.fail(error)
        self._streams.clear()


class _Stream:
    """One answer: the event loop's callbacks fill it, and one task reads it."""

    def __init__(
        self, reader: AnswerReader, prompt_tokens: int, end_ids: list[int], sampler: SamplerState
    ) -> None:
        self._reader = reader
        self._prompt_tokens = prompt_tokens
        self._end_ids = end_ids
        self._sampler = sampler
        self._sampled = 0
        self._events: deque[Delta | Finish] = deque()
        self._error: EngineError | None = None
        self._over = False
        self._arrived = anyio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta | Finish:
        while not self._events:
            if self._error is not None:
                raise self._error
            if self._over:
                raise StopAsyncIteration
            self._arrived = anyio.Event()
            await self._arrived.wait()
        return self._events.popleft()

    def fail(self, error: EngineError) -> None:
        """Ends the stream with an error, which is raised after the events that have arrived."""
        self._error = error
        self._arrived.set()

    def receive(self, output: Progress) -> bool:
        """Takes the ids sampled so far. Returns True if the stream ends here."""
        if output.error is not None:
            self.fail(EngineError(f"the local engine failed: {output.error}"))
            return True
        try:
            over = self._read(output.ids[self._sampled :], output.ended)
        except Exception as error:
            failure = EngineError(f"the tokenizer failed on a sampled id: {error}")
            failure.__cause__ = error
            self.fail(failure)
            return True
        self._arrived.set()
        return over

    def _read(self, ids: list[int], last: bool) -> bool:
        self._sampled += len(ids)
        reason: FinishReason = "length"
        if last and ids and ids[-1] in self._end_ids:
            reason = "end"
            ids = ids[:-1]
        pieces = [self._reader.feed(ids)]
        if last:
            pieces.append(self._reader.flush())
        self._events += [piece for piece in pieces if piece is not None]
        stop = self._reader.stop
        self._over = last or stop is not None
        if self._over:
            usage = TokenUsage(self._prompt_tokens, self._sampled, self._sampler.cached or 0)
            self._events.append(Finish("stop" if stop is not None else reason, usage, stop))
        return self._over
