"""What is asked of a chat endpoint, and how its answers are read. Pure: no I/O, no await."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import cast

from curate.drops import Dropped, Reason
from curate.llm.endpoint import Query
from sprint_agent.engine import TokenUsage
from sprint_agent.engines.http_client import as_object, read_object
from sprint_agent.engines.openai.wire import ServerQuirks, read_usage

_TEMPERATURE = 0.0
_MOST_TOKENS = 2**31
_FINISHED = ("stop", "length", "content_filter")


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer as the endpoint gave it: whole, cut off, or refused.

    `finish` is why it ended ("stop", "length", "content_filter"), `refusal` what the model said in
    place of an answer, `usage` None where the endpoint does not say.
    """

    text: str
    finish: str
    refusal: str = ""
    usage: TokenUsage | None = None

    def whole(self) -> str:
        """The text of an answer that is whole. Raises Dropped for any other."""
        if self.refusal or self.finish == "content_filter":
            raise Dropped(Reason.REFUSED, self.refusal or "the content filter ended the answer")
        if self.finish == "length":
            raise Dropped(Reason.TRUNCATED, f"{len(self.text)} characters came")
        return self.text


def body(query: Query, model: str, most: int, terms: ServerQuirks) -> dict[str, object]:
    """The body of a request for at most `most` tokens, within what the server takes."""
    schema = {"name": query.kind, "strict": True, "schema": query.schema}
    asked: dict[str, object] = {
        "model": model,
        "messages": [asdict(message) for message in query.messages],
        "temperature": _TEMPERATURE,
        "max_tokens": most,
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
    if "max_tokens" in terms.refuses:
        asked["max_completion_tokens"] = most
    return {name: value for name, value in asked.items() if name not in terms.refuses}


def key(query: Query, model: str, most: int) -> str:
    """What a kept answer is known by: all that the model is asked, and the prompt's version.

    It is the same whatever a server turned out to refuse, or else each session would learn that anew
    before it finds what is kept.
    """
    asked = [body(query, model, most, ServerQuirks()), query.version]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def prompt_bound(asked: dict[str, object]) -> int:
    """At most so many tokens has the prompt of a body: none is shorter than a byte."""
    return len(json.dumps(asked))


def read_completion(text: str) -> Completion:
    """A response's body. ValueError where it is no chat completion that has ended."""
    said = read_object(text)
    choices = said.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError("no choices")
    choice = as_object(cast("list[object]", choices)[0])
    finish = choice.get("finish_reason")
    if finish not in _FINISHED:
        raise ValueError(f"ended for {finish!r}")
    answer = as_object(choice.get("message"))
    return Completion(
        _text(answer, "content"),
        str(finish),
        _text(answer, "refusal"),
        _usage(said),
    )


def _usage(said: dict[str, object]) -> TokenUsage | None:
    """The usage that a body says, where it can be one: the cache holds no number of any size."""
    usage = read_usage(said.get("usage"))
    if usage is None:
        return None
    tokens = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    return usage if all(0 <= number < _MOST_TOKENS for number in tokens) else None


def _text(holder: dict[str, object], name: str) -> str:
    text = holder.get(name)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{name} is no text")
    return text or ""
