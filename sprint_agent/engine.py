"""The seam between a run and whatever generates its text.

An engine is one method, `generate`, and a few facts about itself. A request goes in; out of an async
context manager come deltas and, last, one finish:

    async with engine.generate(request) as stream:
        async for event in stream:      # Delta, Delta, …, Finish

Leaving the `async with` block early (an error, a cancellation, a `break`) ends the request in the
engine: nothing goes on generating for a reader that has left.

What an engine promises (`sprint_agent.testing.check_engine` checks it):

* The texts of the deltas, joined, are the answer; their ids, joined, are the very ids that were
  sampled, and decode to that text. A delta's ids are those whose text it completes, so at the end
  of a delta text and ids are at the same place.
* A stop string ends the answer where its first character stands. It is in no delta, and nor are
  the ids from the one that it begins in. Where that id also holds text before the stop, the text
  before it is encoded anew.
* The end-of-sequence id is in no delta.
* Just one Finish, and it is last. A stream that breaks off without one raises TruncatedStream.
* `usage.completion_tokens` counts every sampled token: the stop's and the end's as well.
* Requests run at the same time as each other.
* A prompt that does not fit, or that holds ids outside the vocabulary, is refused with
  RequestRefused (ContextTooLong) on entering, before anything is queued.

An engine without ids (a chat endpoint) has `tokenizer = None`: it is sent text, and its deltas hold
no ids. Each of them counts as one token until the Finish says better, so where a token's text is held
back, or is a thought that is no part of the answer, its delta has an empty text.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Protocol, Self

FinishReason = Literal["stop", "end", "length"]
"""Why a generation ended: a stop string, the model's own end, or `max_tokens`."""


def new_request_id() -> str:
    """A request id: 32 characters, always, because SGLang aborts by *prefix* of the id."""
    return os.urandom(16).hex()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    `max_tokens` bounds one call (the paper's bound is 8,000). `temperature` 0 is greedy. With a
    `seed`, an engine that can honour it draws the same tokens again.
    """

    max_tokens: int = 8_000
    temperature: float = 0.6
    top_p: float = 1.0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class ExecutorCard:
    """What a planner that was not trained is told of an executor.

    `schema` is the JSON schema of its prompts; None where they are plain text.
    """

    name: str
    description: str
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RunTag:
    """The run that a request belongs to: its name, and when it began (seconds of the Unix epoch)."""

    name: str
    began: float


@dataclass(frozen=True, slots=True)
class Request:
    """One call: a prompt (ids for an engine with a tokenizer, else text), sampling and stops.

    Requests of one `run` share a prefix; of runs that compete, older ones should go first.

    The rest is for an engine that prompts a chat model into the protocol, others pass over it:
    `executors`, beside the model, may be named in a plan, and `complaint` says why the last try at
    the turn could not be run.
    """

    prompt: tuple[int, ...] | str
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    request_id: str = field(default_factory=new_request_id)
    run: RunTag | None = None
    executors: tuple[ExecutorCard, ...] = ()
    complaint: str | None = None


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What one call cost, in tokens. `cached_tokens` of the `prompt_tokens` were not computed."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer: text, and the ids that it was decoded from."""

    text: str
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of an answer. `stop` is the stop string that ended it, for reason `"stop"`."""

    reason: FinishReason
    usage: TokenUsage
    stop: str | None = None


class Tokenizer(Protocol):
    """Text to ids and back. Neither adds nor drops special tokens."""

    @property
    def vocab_size(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


class AlwaysOpen:
    """For an engine that has nothing to open and nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass


class Engine(Protocol):
    """What a run needs of a model. Entered before its first request, left after its last.

    `tokenizer` is None where the engine takes text; `context_length` is the most ids that prompt and
    answer may have together, None where it is not known.
    """

    @property
    def tokenizer(self) -> Tokenizer | None: ...

    @property
    def context_length(self) -> int | None: ...

    def generate(
        self, request: Request
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta | Finish]]: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
