"""The interface between a run and the engine that generates its text.

An engine has one method, `generate`, and a few facts about itself. It takes a request and returns an
async context manager. The stream inside it yields deltas and then one finish:

    async with engine.generate(request) as stream:
        async for event in stream:      # Delta, Delta, …, Finish

Leaving the `async with` block early (an error, a cancellation, a `break`) ends the request in the
engine, so nothing is generated for a reader that has left.

An engine guarantees the following. `sprint_agent.testing.check_engine` tests it.

* The joined texts of the deltas are the answer. The joined ids are exactly the ids that were sampled,
  and they decode to that text. A delta contains the ids whose text it completes, so text and ids are
  at the same position at the end of each delta.
* A stop string ends the answer at the stop's first character. No delta contains the stop, the id in
  which it begins, or any later id. If that id also decodes to text before the stop, this text is
  encoded again and the delta contains the new ids.
* No delta contains the end-of-sequence id.
* There is exactly one Finish, and it is last. A stream that breaks off without one raises
  TruncatedStream.
* `usage.completion_tokens` counts every sampled token, including those of the stop and the
  end-of-sequence token.
* Requests run concurrently.
* A prompt that does not fit into the context, or that contains ids outside the vocabulary, raises
  RequestRefused (ContextTooLong) on entering, before anything is queued.

An engine without ids (a chat endpoint) has `tokenizer = None`. Its prompts are text, and its deltas
contain no ids. Each delta counts as one token until the Finish gives the exact number. So a token whose
text is held back, or whose text is a thought and not part of the answer, yields a delta with an empty
text.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Protocol, Self, runtime_checkable

FinishReason = Literal["stop", "end", "length"]
"""Why a generation ended: a stop string, the end-of-sequence token, or `max_tokens`."""


def new_request_id() -> str:
    """Returns a new request id. It always has 32 characters: SGLang aborts by *prefix* of the id."""
    return os.urandom(16).hex()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are sampled."""

    max_tokens: int = 8_000
    """The most tokens of one call (the paper's limit is 8,000)."""

    temperature: float = 0.6
    """0 is greedy decoding."""

    top_p: float = 1.0

    seed: int | None = None
    """With a seed, an engine that supports seeds samples the same tokens again."""


@dataclass(frozen=True, slots=True)
class ExecutorCard:
    """Describes an executor to a planner that was not trained on the protocol."""

    name: str
    description: str

    schema: Mapping[str, object] | None = None
    """The JSON schema of its prompts. None if they are plain text."""


@dataclass(frozen=True, slots=True)
class RunTag:
    """Identifies the run that a request belongs to."""

    name: str

    began: float
    """When the run began, in seconds of the Unix epoch."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call to an engine.

    `executors` and `complaint` are only used by an engine that prompts a chat model into the
    protocol. Other engines ignore them.
    """

    prompt: tuple[int, ...] | str
    """Ids for an engine with a tokenizer, text for one without."""

    sampling: Sampling = Sampling()

    stop: tuple[str, ...] = ()
    """The strings that end the answer."""

    request_id: str = field(default_factory=new_request_id)

    run: RunTag | None = None
    """Requests of one run share a prefix. When runs compete, older runs should go first."""

    executors: tuple[ExecutorCard, ...] = ()
    """The executors, besides the model, that a plan may name."""

    complaint: str | None = None
    """Why the previous attempt at this turn could not be run."""


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """The tokens of one call."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    cached_tokens: int = 0
    """How many of the `prompt_tokens` came from a cache and were not computed."""

    def plausible(self, *, prompt: int = 0, completion: int = 0) -> TokenUsage:
        """Returns a usage that is possible, whatever an engine reported.

        No count is negative, and no more tokens were cached than the prompt has. `prompt` and
        `completion` are what was seen: at least that many tokens were used.
        """
        prompt_tokens = max(self.prompt_tokens, prompt, 0)
        completion_tokens = max(self.completion_tokens, completion, 0)
        cached_tokens = min(max(self.cached_tokens, 0), prompt_tokens)
        return TokenUsage(prompt_tokens, completion_tokens, cached_tokens)


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer: text, and the ids that it was decoded from."""

    text: str
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of an answer."""

    reason: FinishReason
    usage: TokenUsage

    stop: str | None = None
    """The stop string that ended the answer, if `reason` is `"stop"`."""


class Tokenizer(Protocol):
    """Converts text to ids and back. It neither adds nor drops special tokens.

    If it also has a property `special_tokens`, as in `protocol.encoding.KnowsSpecialTokens`, the runtime
    knows exactly which ids text from elsewhere must not contain.
    """

    @property
    def vocab_size(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


@runtime_checkable
class BeginsContexts(Protocol):
    """What a tokenizer has in addition if its model expects special tokens before each context.

    They are ids alone. The text of a context does not contain them.
    """

    @property
    def bos_ids(self) -> tuple[int, ...]: ...


class AlwaysOpen:
    """A base class for an engine that has nothing to open or close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        pass


class Engine(Protocol):
    """What a run needs from a model. It is entered before its first request and left after its last.

    `tokenizer` is None if the engine takes text. `context_length` is the most ids that a prompt and
    its answer may have together, or None if it is not known.
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
        /,
    ) -> None: ...
