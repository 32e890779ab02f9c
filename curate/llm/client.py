"""The client: asks a model behind an OpenAI-compatible API, and pays for no answer twice."""

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
from curate.llm.errors import Failed
from curate.llm.health import Heard
from curate.llm.throttle import Pace
from curate.llm.wire import Completion
from sprint_agent import retry
from sprint_agent.engines.openai import wire as openai_wire
from sprint_agent.engines.openai.server import http_cause, open_openai
from sprint_agent.errors import EngineUnavailable

TRIES = 6
"""Requests in all for one query: annotating is patient, where a run is not."""
_LEAST_ANSWER = 256
"""What does not fit into the context is sent again for half as many tokens, down to these."""

_log = logging.getLogger(__name__)


class Client:
    """Answers queries by `POST {base_url}/chat/completions`; an async context manager.

    `models` are by kind of query. At most `concurrency` requests are under way at a time; each may take
    `timeout` seconds, and its answer at most `max_tokens` tokens. What is in `cache` is not asked
    again, and of equal queries at the same time one is asked. `ledger` keeps the cost below its
    ceiling.

    Raises ValueError where the ledger has a ceiling and a model has no price.
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
        self._pace = Pace(concurrency)
        self._timeout = timeout
        self._max_tokens = max_tokens
        self._flights: dict[str, _Flight] = {}
        self._terms: dict[str, openai_wire.ServerQuirks] = {}
        self._heard = Heard()
        self._api: openai.AsyncOpenAI | None = None

    async def __aenter__(self) -> Self:
        """Raises EndpointDown for an address or a key that can be none."""
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
        """The whole text of the model's answer; see `Endpoint.ask`."""
        model = self._models[query.kind]
        key = wire.key(query, model, self._max_tokens)
        while (kept := self._cache.get(key)) is None:
            flight = self._flights.get(key)
            if flight is None:
                return (await self._fly(key, model, query)).whole()
            await flight.landed.wait()
            if flight.error is not None:
                raise flight.error
            # Else it is kept now; or who asked was cancelled, and the first to see it takes over.
        self._ledger.cached()
        self._heard.kept(model)
        return kept.whole()

    async def _fly(self, key: str, model: str, query: Query) -> Completion:
        """Asks, while equal queries wait for what comes of it."""
        flight = self._flights[key] = _Flight()
        try:
            with self._heard.asking():
                return await self._tries(key, model, query)
        except Exception as error:
            flight.error = error
            raise
        finally:
            del self._flights[key]
            flight.landed.set()

    async def _tries(self, key: str, model: str, query: Query) -> Completion:
        """Asks, again where that may help: the one place where it is decided."""
        tries = 0
        while True:
            tries += 1
            try:
                return await self._try(key, model, query)
            except Failed as failed:
                spread, longest = random.random(), errors.LONGEST_WAIT
                pause = retry.pause(failed, tries, math.inf, spread, most=TRIES, longest=longest)
                if pause is None:
                    raise await self._heard.outcome(model, failed) from failed
            self._ledger.retried()
            await anyio.sleep(pause)

    async def _try(self, key: str, model: str, query: Query) -> Completion:
        """Sends a request, again where the server refuses how it is put."""
        most = self._max_tokens
        async with self._pace.place(model) as since:
            while True:
                terms = self._terms.get(model, openai_wire.ServerQuirks())
                try:
                    answer = await self._paid(key, wire.body(query, model, most, terms), most)
                except openai.APIStatusError as error:
                    status, said = error.status_code, error.body
                    failed = errors.by_status(self._url, status, said, error.response.headers)
                    if status == 429:
                        self._pace.busy(model, since, failed.retry_after)
                    learned = terms.after_refusal(status, said)
                    if learned is not None:
                        self._learn(model, learned, error)
                    elif failed.too_long and most > _LEAST_ANSWER:
                        most = max(_LEAST_ANSWER, most // 2)
                    else:
                        raise failed from error
                else:
                    self._pace.answered()
                    self._heard.answered(model)
                    return answer

    def _learn(
        self, model: str, learned: openai_wire.ServerQuirks, error: openai.APIStatusError
    ) -> None:
        known = self._terms.get(model, openai_wire.ServerQuirks()).refuses
        if learned.refuses - known:
            names = ", ".join(learned.refuses - known)
            _log.warning("%s is asked without %s from now on: %s", model, names, error)
        # Others may have learned something else since this request was sent.
        self._terms[model] = replace(learned, refuses=known | learned.refuses)

    async def _paid(self, key: str, body: dict[str, object], most: int) -> Completion:
        """Sends one request, on the ledger, and keeps its answer."""
        model, bound = str(body["model"]), wire.prompt_bound(body)
        reserved = await self._ledger.reserve(model, bound, most)
        try:
            answer = await self._post(body)
        except openai.APIStatusError:
            self._ledger.refused(reserved)
            raise
        except BaseException as error:
            # One that reached no server costs nothing; any other may have been answered in vain.
            if isinstance(error, Failed) and error.unsent:
                self._ledger.refused(reserved)
            else:
                self._ledger.lost(reserved)
                self._cache.lose(model, bound, most)
            raise
        cost = self._ledger.answered(reserved, model, answer.usage)
        self._cache.put(key, model, answer, cost)
        return answer

    async def _post(self, body: dict[str, object]) -> Completion:
        """Sends one request. Raises openai.APIStatusError as it is, all else as Failed."""
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
                raise errors.by_error(self._url, http_cause(error), self._timeout) from error
            except UnicodeEncodeError as error:
                dropped = Dropped(Reason.REJECTED, "the prompt holds half a character")
                raise Failed(dropped, unsent=True) from error
            except ValueError as error:
                raise errors.malformed(self._url, error) from error
        raise errors.too_slow(self._url, self._timeout)


class _Flight:
    """A query that is being asked. Landed without an error, it is kept, or was cancelled."""

    def __init__(self) -> None:
        self.landed = anyio.Event()
        self.error: Exception | None = None
