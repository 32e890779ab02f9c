"""Builds the requests to a chat endpoint and reads its responses. Pure: no I/O, no await."""

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
    """An answer of the endpoint. It may be complete, cut off or refused."""

    text: str
    finish: str
    """Why the answer ended: "stop", "length" or "content_filter"."""
    refusal: str = ""
    """What the model said instead of an answer."""
    usage: TokenUsage | None = None
    """None if the endpoint does not report it."""

    def complete_text(self) -> str:
        """Returns the text of a complete answer.

        Raises:
            Dropped: if the answer was cut off or refused.
        """
        if self.refusal or self.finish == "content_filter":
            raise Dropped(Reason.REFUSED, self.refusal or "the content filter ended the answer")
        if self.finish == "length":
            detail = f"the answer was cut off after {len(self.text)} characters"
            raise Dropped(Reason.TRUNCATED, detail)
        return self.text


def body(query: Query, model: str, most: int, quirks: ServerQuirks) -> dict[str, object]:
    """Returns the body of a request for at most `most` tokens, without what the server refuses."""
    schema = {"name": query.kind, "strict": True, "schema": query.schema}
    fields: dict[str, object] = {
        "model": model,
        "messages": [asdict(message) for message in query.messages],
        "temperature": _TEMPERATURE,
        "max_tokens": most,
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
    if "max_tokens" in quirks.refuses:
        fields["max_completion_tokens"] = most
    return {name: value for name, value in fields.items() if name not in quirks.refuses}


def cache_key(query: Query, model: str, most: int) -> str:
    """Returns the key of an answer in the cache: a digest of the request and of the prompt's version.

    The key does not depend on what a server refuses. Otherwise each session would have to learn that
    again before it finds the kept answers.
    """
    request = [body(query, model, most, ServerQuirks()), query.version]
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def prompt_bound(request: dict[str, object]) -> int:
    """Returns an upper bound for the tokens of a request's prompt: no token is shorter than a byte."""
    return len(json.dumps(request))


def read_completion(text: str) -> Completion:
    """Reads the body of a response.

    Raises:
        ValueError: if it is not a chat completion, or one that has not ended.
    """
    response = read_object(text)
    choices = response.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError("there are no choices")
    choice = as_object(cast("list[object]", choices)[0])
    finish = choice.get("finish_reason")
    if finish not in _FINISHED:
        raise ValueError(f"the finish reason is {finish!r}")
    answer = as_object(choice.get("message"))
    return Completion(
        _text(answer, "content"),
        str(finish),
        _text(answer, "refusal"),
        _usage(response),
    )


def _usage(response: dict[str, object]) -> TokenUsage | None:
    """Returns the usage in a response, or None if its numbers are impossible.

    The cache cannot store integers of any size.
    """
    usage = read_usage(response.get("usage"))
    if usage is None:
        return None
    tokens = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    return usage if all(0 <= number < _MOST_TOKENS for number in tokens) else None


def _text(fields: dict[str, object], name: str) -> str:
    text = fields.get(name)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{name} is not a string")
    return text or ""
