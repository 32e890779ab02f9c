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
_FINISHES = {
    "stop": "stop eos eos_token stop_sequence end_turn end complete completed finished",
    "length": "length max_tokens model_length max_output_tokens max_length",
    "content_filter": "content_filter safety recitation blocklist prohibited_content refusal",
}
_FINISHED = {name: kind for kind, names in _FINISHES.items() for name in names.split()}
"""Why an answer ended, in the words of various servers. Other reasons leave no answer."""


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
    kind = _FINISHED.get(finish.lower()) if isinstance(finish, str) else None
    if kind is None:
        raise ValueError(f"the finish reason is {finish!r}")
    answer = as_object(choice.get("message"))
    text, refusal = _text(answer, "content"), _text(answer, "refusal")
    thought = _text(answer, "reasoning_content") or _text(answer, "reasoning")
    usage = _usage(response.get("usage"), f"{thought} {text} {refusal}")
    return Completion(text, kind, refusal, usage)


def _usage(reported: object, written: str) -> TokenUsage | None:
    """Returns what a response costs, or None if the server's numbers cannot be relied on.

    Some servers (xAI's, Gemini's) do not count the reasoning among the completion tokens, but charge
    for it all the same. All that was not in the prompt was generated.

    Args:
        written: what the model wrote. No token is longer than a word.
    """
    usage = read_usage(reported)
    if usage is None:
        return None
    fields = as_object(reported)
    details = fields.get("completion_tokens_details")
    inside = cast("dict[str, object]", details) if isinstance(details, dict) else {}
    reasoning = _count(inside.get("reasoning_tokens", fields.get("reasoning_tokens")))
    completion = max(
        usage.completion_tokens, _count(fields.get("total_tokens")) - usage.prompt_tokens
    )
    if reasoning > usage.completion_tokens:
        completion = max(completion, usage.completion_tokens + reasoning)
    tokens = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    # The cache cannot store integers of any size.
    possible = all(0 <= number < _MOST_TOKENS for number in (*tokens, completion))
    if not possible or not usage.prompt_tokens:
        return None
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    return TokenUsage(usage.prompt_tokens, max(completion, len(written.split())), cached)


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _text(fields: dict[str, object], name: str) -> str:
    text = fields.get(name)
    if isinstance(text, list):
        # Some servers answer in parts, of which the thought is one.
        parts = [as_object(part) for part in cast("list[object]", text)]
        text = "".join(_text(part, "text") for part in parts)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{name} is not a string")
    return text or ""
