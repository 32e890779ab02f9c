"""The client: asks a model over an OpenAI-compatible API, and pays for no answer twice."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self

import anyio
import httpx2
import openai

from curate.drops import Dropped, Reason
from curate.llm import errors, wire
from curate.llm.cache import Cache
from curate.llm.cost import Ledger
from curate.llm.endpoint import EndpointDown, Kind, Query
from curate.llm.errors import RequestFailed
from curate.llm.health import EndpointHealth
from curate.llm.throttle import AdaptiveLimiter
from curate.llm.wire import Completion
from sprint_agent import retry
from sprint_agent.engines.openai import wire as openai_wire
from sprint_agent.engines.openai.server import http_cause, open_openai
from sprint_agent.errors import EngineUnavailable

TRIES = 6
"""The most requests for one query, the first included. Annotation waits longer than a run does."""
_LEAST_ANSWER = 256
"""Tokens. A request that exceeds the context is sent again for half as many, but not for fewer."""

_log = logging.getLogger(__name__)


class Client:
    """Answers queries by `POST {base_url}/chat/completions`. An async context manager.

    A query whose answer is in the cache is not sent. If equal queries run at the same time, one is
    sent.

    Args:
        base_url: the API's address, up to and including `/v1`.
        key: the API key.
        models: the model for each kind of query.
        cache: keeps all answers.
        ledger: keeps the cost below its ceiling.
        concurrency: the most requests that run at the same time.
        timeout: the seconds that one request may take.
        max_tokens: the most tokens of one answer.

    Raises:
        ValueError: if the ledger has a ceiling and a model has no price.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        models: Mapping[Kind, str],
        *,
        cache: Cache,
        ledger: Ledger,
        concurrency: int = 64,
        timeout: float = 600.0,
        max_tokens: int = 16_384,
    ) -> None:
        for model in models.values():
            ledger.check(model)
        self._url = base_url
        self._key = key
        self._models = models
        self._cache = cache
        self._ledger = ledger
        self._limiter = AdaptiveLimiter(concurrency)
        self._timeout = timeout
        self._max_tokens = max_tokens
        self._pending: dict[str, _PendingQuery] = {}
        self._quirks: dict[str, openai_wire.ServerQuirks] = {}
        self._health = EndpointHealth()
        self._api: openai.AsyncOpenAI | None = None

    async def __aenter__(self) -> Self:
        """Opens the client. No connection is made yet.

        Raises:
            EndpointDown: if the address or the key is not a valid one.
        """
        try:
            self._api = open_openai(self._url, self._key, self._timeout)
        except EngineUnavailable as error:
            raise EndpointDown(str(error)) from error
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the connections."""
        api, self._api = self._api, None
        if api is not None:
            with anyio.CancelScope(shield=True):
                await api.close()

    async def ask(self, query: Query) -> str:
        """Returns the complete text of the model's answer. Raises the errors of `Endpoint.ask`."""
        model = self._models[query.kind]
        key = wire.cache_key(query, model, self._max_tokens)
        while (kept := self._cache.get(key)) is None:
            pending = self._pending.get(key)
            if pending is None:
                return (await self._ask_once(key, model, query)).complete_text()
            await pending.ended.wait()
            if pending.error is not None:
                raise pending.error
            # Without an error, the answer is in the cache now, or the task that asked was cancelled. In
            # that case the first task to wake up asks instead.
        self._ledger.cached()
        self._health.kept(model)
        return kept.complete_text()

    async def _ask_once(self, key: str, model: str, query: Query) -> Completion:
        """Asks the model, while equal queries wait for the result."""
        pending = self._pending[key] = _PendingQuery()
        try:
            with self._health.running():
                return await self._ask_with_retries(key, model, query)
        except Exception as error:
            pending.error = error
            raise
        finally:
            del self._pending[key]
            pending.ended.set()

    async def _ask_with_retries(self, key: str, model: str, query: Query) -> Completion:
        """Asks the model, again after a transient failure. No other layer retries a query."""
        retrying = retry.retrying(
            left=lambda: math.inf,
            spread=random.random,
            before_sleep=lambda *_: self._ledger.retried(),
            most=TRIES,
            longest=errors.LONGEST_WAIT,
        )
        try:
            return await retrying(self._send, key, model, query)
        except RequestFailed as failed:
            raise await self._health.outcome(model, failed) from failed

    async def _send(self, key: str, model: str, query: Query) -> Completion:
        """Sends a request, again without the parameters that the server refuses, or for fewer tokens."""
        most = self._max_tokens
        async with self._limiter.slot(model) as since:
            while True:
                quirks = self._quirks.get(model, openai_wire.ServerQuirks())
                try:
                    answer = await self._send_paid(key, wire.body(query, model, most, quirks), most)
                except openai.APIStatusError as error:
                    status, body = error.status_code, error.body
                    failed = errors.from_status(self._url, status, body, error.response.headers)
                    if status == 429:
                        self._limiter.busy(model, since, failed.retry_after)
                    learned = quirks.after_refusal(status, body)
                    if learned is not None:
                        self._learn(model, learned, error)
                    elif failed.too_long and most > _LEAST_ANSWER:
                        most = max(_LEAST_ANSWER, most // 2)
                    else:
                        raise failed from error
                else:
                    self._limiter.answered()
                    self._health.answered(model)
                    return answer

    def _learn(
        self, model: str, learned: openai_wire.ServerQuirks, error: openai.APIStatusError
    ) -> None:
        known = self._quirks.get(model, openai_wire.ServerQuirks()).refuses
        if learned.refuses - known:
            names = ", ".join(learned.refuses - known)
            _log.warning("requests to %s leave out %s from now on: %s", model, names, error)
        # Another request may have learned something else since this one was sent.
        self._quirks[model] = replace(learned, refuses=known | learned.refuses)

    async def _send_paid(self, key: str, body: dict[str, object], most: int) -> Completion:
        """Sends one request, counts its cost, and keeps its answer."""
        model, bound = str(body["model"]), wire.prompt_bound(body)
        reserved = await self._ledger.reserve(model, bound, most)
        try:
            answer = await self._post(body)
        except openai.APIStatusError:
            self._ledger.refused(reserved)
            raise
        except BaseException as error:
            # A request that reached no server costs nothing. Any other one may have been answered, even
            # if the answer never arrived.
            if isinstance(error, RequestFailed) and error.unsent:
                self._ledger.refused(reserved)
            else:
                self._ledger.lost(reserved)
                self._cache.put_lost(model, bound, most)
            raise
        cost = self._ledger.answered(reserved, model, answer.usage)
        self._cache.put(key, model, answer, cost)
        return answer

    async def _post(self, body: dict[str, object]) -> Completion:
        """Sends one request.

        Raises:
            openai.APIStatusError: for an error status, unchanged.
            RequestFailed: for every other failure.
        """
        assert self._api is not None, "enter the client first"
        with anyio.move_on_after(self._timeout):
            try:
                response = await self._api.post(
                    "/chat/completions", cast_to=httpx2.Response, body=body
                )
                return wire.read_completion(response.text)
            except openai.APIStatusError:
                raise
            except (openai.OpenAIError, httpx2.HTTPError) as error:
                cause = http_cause(error)
                raise errors.from_exception(self._url, cause, self._timeout) from error
            except UnicodeEncodeError as error:
                dropped = Dropped(Reason.REJECTED, "the prompt contains an unpaired surrogate")
                raise RequestFailed(dropped, unsent=True) from error
            except ValueError as error:
                raise errors.malformed(self._url, error) from error
        raise errors.too_slow(self._url, self._timeout)


class _PendingQuery:
    """A query that is being asked.

    If it ended without an error, its answer is in the cache, or the task that asked was cancelled.
    """

    def __init__(self) -> None:
        self.ended = anyio.Event()
        self.error: Exception | None = None
