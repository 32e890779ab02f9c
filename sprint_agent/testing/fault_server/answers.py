"""Turns a scripted reply into a server's answer: ids, stops, end id and finish reason. Pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import Literal

from sprint_agent.engine import Tokenizer
from sprint_agent.testing.scripted import Reply

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request for an answer, independent of the API that it came through."""

    rid: str
    prompt: tuple[int, ...]
    """The ids of the prompt."""
    text: str | None = None
    """The prompt as text, or None if the request contained ids."""
    stops: tuple[str, ...] = ()
    max_tokens: int | None = None
    """The most tokens of the answer, or None if the request did not say."""
    stream: bool = False
    include_stop: bool = False
    """Whether the answer's text also contains the stop string, or the text of the end id."""
    wants_usage: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """The model that a server claims to serve."""

    name: str
    tokenizer: Tokenizer
    end_id: int
    context_length: int | None
    cached_tokens: int

    def problem(self, request: ParsedRequest) -> str | None:
        """Returns why the request exceeds the context, in SGLang's words, or None if it fits."""
        length, context = len(request.prompt), self.context_length
        if context is None:
            return None
        if length >= context:
            return (
                f"The input ({length} tokens) is longer than the model's context length "
                f"({context} tokens)."
            )
        total = length + (request.max_tokens or 0)
        if total > context:
            return (
                "Requested token count exceeds the model's maximum context length of "
                f"{context} tokens. You requested a total of {total} tokens."
            )
        return None

    def knows(self, request: ParsedRequest) -> bool:
        """Returns whether all ids of the prompt are in the vocabulary."""
        return all(0 <= token < self.tokenizer.vocab_size for token in request.prompt)

    def text_of(self, request: ParsedRequest) -> str:
        """Returns the text of the prompt."""
        return self.tokenizer.decode(request.prompt) if request.text is None else request.text

    def answer(self, request: ParsedRequest, reply: Reply, default_max_tokens: int) -> Answer:
        """Samples the reply, up to the first stop, the end, or the most tokens of the request."""
        room = default_max_tokens if request.max_tokens is None else request.max_tokens
        if self.context_length is not None:
            room = min(room, self.context_length - len(request.prompt))
        ids = self.tokenizer.encode(reply.text)
        text_tokens, text, ending = len(ids), reply.text, Ending("length")
        if reply.reason != "length":
            ids.append(self.end_id)
            text = self.tokenizer.decode(ids) if request.include_stop else text
            ending = Ending("stop", self.end_id)
        stop = _first_stop(ids[:text_tokens], reply.text, request.stops, self.tokenizer)
        if stop is not None:
            matched, text_tokens = stop
            ids, ending = ids[:text_tokens], Ending("stop", matched)
            at = reply.text.index(matched)
            text = reply.text[: at + len(matched) if request.include_stop else at]
        if len(ids) > room:
            ids, text_tokens, ending = ids[:room], min(text_tokens, room), Ending("length")
            text = text[: len(self.tokenizer.decode(ids).rstrip(_REPLACEMENT))]
        return Answer(request, self, tuple(ids), text_tokens, text, ending)


@dataclass(frozen=True, slots=True)
class Ending:
    """Why an answer ended."""

    kind: Literal["stop", "length", "abort", "content_filter"]
    matched: str | int | None = None
    """The stop string, or the end id, that ended the answer. Of an abort, its message."""
    status: int | str | None = None
    """The status of an abort."""


ABORTED = Ending("abort", "Aborted")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request."""

    request: ParsedRequest
    model: Model
    ids: tuple[int, ...]
    """All sampled ids. As with SGLang, they include those of the stop and of the end."""
    text_tokens: int
    """How many of the ids are text."""
    text: str
    """All the text that is shown."""
    ending: Ending
    declined: bool = False
    """Whether the text is shown as a refusal."""

    def filtered(self, after: int) -> Answer:
        """Returns the same answer, ended by a content filter after this many ids."""
        ids, text = self.ids[:after], self.text_at(after)
        ending = Ending("content_filter")
        text_tokens = min(self.text_tokens, after)
        return replace(self, ids=ids, text_tokens=text_tokens, text=text, ending=ending)

    @property
    def cached_tokens(self) -> int:
        """How many ids of the prompt were cached, as the server reports it."""
        return min(self.model.cached_tokens, len(self.request.prompt))

    def text_at(self, count: int) -> str:
        """Returns the text after `count` ids. An incomplete character waits for the next id."""
        if count >= len(self.ids):
            return self.text
        decoded = self.model.tokenizer.decode(self.ids[: min(count, self.text_tokens)])
        return self.text[: len(decoded.rstrip(_REPLACEMENT))]

    def piece(self, start: int, end: int) -> str:
        """Returns the text that the ids from `start` to `end` add."""
        return self.text_at(end)[len(self.text_at(start)) :]


def _first_stop(
    ids: list[int], text: str, stops: tuple[str, ...], tokenizer: Tokenizer
) -> tuple[str, int] | None:
    """Returns the stop that is complete after the fewest ids, and the number of these ids."""

    def ids_of(stop: str) -> int:
        counts = range(1, len(ids) + 1)
        return 1 + bisect_left(
            counts, True, key=lambda count: stop in tokenizer.decode(ids[:count])
        )

    complete = [(ids_of(stop), stop) for stop in stops if stop in text]
    if not complete:
        return None
    count, stop = min(complete)
    return stop, count
