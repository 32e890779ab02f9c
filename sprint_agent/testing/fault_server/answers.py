"""A scripted answer as a server samples it: ids, stops, the end id, the reason. Pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import Literal

from sprint_agent.engine import Tokenizer
from sprint_agent.testing.scripted import Reply

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request for an answer, whatever API it came by.

    `prompt` are its ids; `text` is what it was asked in, None where that was ids. `most` bounds the
    answer, in tokens, None where the request did not say. With `shows_end`, the answer's text holds
    the stop string, or the end's text, as well.
    """

    rid: str
    prompt: tuple[int, ...]
    text: str | None = None
    stops: tuple[str, ...] = ()
    most: int | None = None
    stream: bool = False
    shows_end: bool = False
    wants_usage: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """The model that a server claims to serve."""

    name: str
    tokenizer: Tokenizer
    end_id: int
    context_length: int | None
    cached_tokens: int

    def problem(self, asking: ParsedRequest) -> str | None:
        """Why a request has no room in the context, in SGLang's words; None where it has."""
        length, context = len(asking.prompt), self.context_length
        if context is None:
            return None
        if length >= context:
            return (
                f"The input ({length} tokens) is longer than the model's context length "
                f"({context} tokens)."
            )
        if length + (asking.most or 0) > context:
            return (
                "Requested token count exceeds the model's maximum context length of "
                f"{context} tokens. You requested a total of {length + (asking.most or 0)} tokens."
            )
        return None

    def knows(self, asking: ParsedRequest) -> bool:
        """Whether all ids of the prompt are in the vocabulary."""
        return all(0 <= token < self.tokenizer.vocab_size for token in asking.prompt)

    def text_of(self, asking: ParsedRequest) -> str:
        """The prompt's text."""
        return self.tokenizer.decode(asking.prompt) if asking.text is None else asking.text

    def answer(self, asking: ParsedRequest, say: Reply, default_most: int) -> Answer:
        """Samples what `say` says, up to the first stop, the end, or the most that was asked for."""
        room = default_most if asking.most is None else asking.most
        if self.context_length is not None:
            room = min(room, self.context_length - len(asking.prompt))
        ids = self.tokenizer.encode(say.text)
        said, text, ending = len(ids), say.text, Ending("length")
        if say.reason != "length":
            ids.append(self.end_id)
            text = self.tokenizer.decode(ids) if asking.shows_end else text
            ending = Ending("stop", self.end_id)
        stop = _first_stop(ids[:said], say.text, asking.stops, self.tokenizer)
        if stop is not None:
            matched, said = stop
            ids, ending = ids[:said], Ending("stop", matched)
            at = say.text.index(matched)
            text = say.text[: at + len(matched) if asking.shows_end else at]
        if len(ids) > room:
            ids, said, ending = ids[:room], min(said, room), Ending("length")
            text = text[: len(self.tokenizer.decode(ids).rstrip(_REPLACEMENT))]
        return Answer(asking, self, tuple(ids), said, text, ending)


@dataclass(frozen=True, slots=True)
class Ending:
    """Why an answer ended. `matched` is the stop string, or the end id, that ended it."""

    kind: Literal["stop", "length", "abort", "content_filter"]
    matched: str | int | None = None


ABORTED = Ending("abort")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said to a request. `ids` hold the stop's and the end's too, as SGLang's do.

    `said` of them are text; `text` is all that is shown, as a refusal where it is `declined`.
    """

    asking: ParsedRequest
    model: Model
    ids: tuple[int, ...]
    said: int
    text: str
    ending: Ending
    declined: bool = False

    def filtered(self, after: int) -> Answer:
        """The same, ended by a content filter after so many ids."""
        ids, text = self.ids[:after], self.text_at(after)
        ending = Ending("content_filter")
        return replace(self, ids=ids, said=min(self.said, after), text=text, ending=ending)

    @property
    def cached_tokens(self) -> int:
        """How many ids of the prompt the server says that it had."""
        return min(self.model.cached_tokens, len(self.asking.prompt))

    def text_at(self, count: int) -> str:
        """The text shown after so many ids; a half character is kept back for the next."""
        if count >= len(self.ids):
            return self.text
        seen = self.model.tokenizer.decode(self.ids[: min(count, self.said)])
        return self.text[: len(seen.rstrip(_REPLACEMENT))]

    def piece(self, start: int, end: int) -> str:
        """The text that the ids from `start` to `end` add."""
        return self.text_at(end)[len(self.text_at(start)) :]


def _first_stop(
    ids: list[int], text: str, stops: tuple[str, ...], tokenizer: Tokenizer
) -> tuple[str, int] | None:
    """The stop that the first ids complete, and how many ids those are."""

    def ids_of(stop: str) -> int:
        counts = range(1, len(ids) + 1)
        return 1 + bisect_left(
            counts, True, key=lambda count: stop in tokenizer.decode(ids[:count])
        )

    found = [(ids_of(stop), stop) for stop in stops if stop in text]
    if not found:
        return None
    count, stop = min(found)
    return stop, count
