"""The requests to an OpenAI-compatible server and the events that it returns. Pure: no I/O, no await."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from sprint_agent.engine import Sampling, TokenUsage
from sprint_agent.engines import server_errors
from sprint_agent.engines.http_client import as_object
from sprint_agent.engines.openai.dialect import STOP_IN_TEXT, USAGE_IN_EACH_EVENT, ServerQuirks
from sprint_agent.engines.server_errors import error_message
from sprint_agent.engines.usage import read_usage
from sprint_agent.errors import ContextTooLong, EngineError, EngineUnavailable, RequestRefused

_TEXT_PARTS = ("text", "output_text")
_HIDDEN = (
    "reasoning_content",
    "reasoning",
    "reasoning_text",
    "reasoning_details",
    "thinking",
    "thinking_blocks",
    "tool_calls",
    "function_call",
)
"""The fields of a delta with tokens that are not part of the answer."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event of a stream, or a whole answer."""

    text: str = ""

    refusal: str = ""
    """What the model wrote instead of an answer."""

    generated: bool = False
    """Whether the event contains a token, which may have no text."""

    finish: str | None = None
    """Why the server stopped, in its own words. None while it is generating."""

    usage: TokenUsage | None = None

    last: bool = False
    """Whether the event contains only the usage, which comes after everything else."""


def read_model(listing: dict[str, object], model: str) -> tuple[ServerQuirks, int | None]:
    """Returns the server's quirks and the model's context length, from the server's list of models."""
    cards = listing.get("data")
    for card in cast("list[object]", cards) if isinstance(cards, list) else []:
        facts = cast("dict[str, object]", card) if isinstance(card, dict) else {}
        if facts.get("id") == model:
            stop_in_text = STOP_IN_TEXT.get(str(facts.get("owned_by")))
            return ServerQuirks(stop_in_text), _context_length(facts)
    return ServerQuirks(), None


def _context_length(card: dict[str, object]) -> int | None:
    """Returns the context length in a model's card, as vLLM and SGLang or as llama.cpp write it."""
    meta = card.get("meta")
    details = cast("dict[str, object]", meta) if isinstance(meta, dict) else {}
    length = card.get("max_model_len", details.get("n_ctx"))
    return length if isinstance(length, int) and length > 0 else None


def parameters(
    sampling: Sampling, max_tokens: int, stop: tuple[str, ...], quirks: ServerQuirks
) -> dict[str, object]:
    """Returns the part of a body that is the same for completions and chat.

    A `top_p` of 1 is left out: it is what every server does without it, and some refuse to get it beside
    a temperature.
    """
    if quirks.most_tokens is not None:
        max_tokens = min(max_tokens, quirks.most_tokens)
    options: dict[str, object] = {"include_usage": True}
    body: dict[str, object] = {
        "stream": True,
        "stream_options": options,
        "max_tokens": max_tokens,
        "temperature": sampling.temperature,
    }
    if sampling.top_p != 1:
        body["top_p"] = sampling.top_p
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if quirks.stop_in_text_parameter is not None:
        # The servers with this extension also have another one: usage in each event.
        if USAGE_IN_EACH_EVENT not in quirks.refuses:
            options[USAGE_IN_EACH_EVENT] = True
        if stop:
            body |= {"stop": list(stop), quirks.stop_in_text_parameter: True}
    refused = set(quirks.refuses)
    if "max_tokens" in refused:
        body["max_completion_tokens"] = max_tokens
    if "stream" in refused:
        refused.add("stream_options")
    return {name: value for name, value in body.items() if name not in refused}


def read_chunk(event: dict[str, object]) -> Chunk:
    """Reads an event that is not an error, or a body that is not streamed, from either endpoint.

    An event without choices does not belong to this API, such as a heartbeat: it is an empty chunk.

    Raises:
        ValueError: It is not an event of OpenAI's API.
    """
    choices, usage = event.get("choices"), read_usage(event.get("usage"))
    if choices is not None and not isinstance(choices, list):
        raise ValueError("choices is not a list")
    if not choices:
        return Chunk(usage=usage, last=usage is not None)
    choice = as_object(cast("list[object]", choices)[0])
    delta = as_object(choice.get("delta") or choice.get("message") or {})
    content, thoughts = _content(delta.get("content"))
    text = _text(choice, "text") or content
    refusal = _text(delta, "refusal")
    hidden = thoughts or any(delta.get(name) for name in _HIDDEN)
    return Chunk(
        text=text,
        refusal=refusal,
        generated=bool(text or refusal or hidden),
        finish=_text(choice, "finish_reason") or None,
        usage=usage,
    )


def begins_answer(event: dict[str, object]) -> bool:
    """Whether an event contains the first token of an answer, or its end, or cannot be read."""
    try:
        chunk = read_chunk(event)
    except ValueError:
        return True
    return chunk.generated or chunk.finish is not None


def _content(content: object) -> tuple[str, bool]:
    """Returns the text of a message's content, and whether it contains anything else.

    The content is text, or a list of parts: text, and thoughts, which are no part of the answer.

    Raises:
        ValueError: It is neither.
    """
    if not isinstance(content, list):
        return _text({"content": content}, "content"), False
    texts: list[str] = []
    others = False
    for part in cast("list[object]", content):
        if isinstance(part, str):
            texts.append(part)
            continue
        fields = as_object(part)
        if fields.get("type", "text") in _TEXT_PARTS:
            texts.append(_text(fields, "text"))
        else:
            others = True
    return "".join(texts), others


def status_error(
    url: str, status: object, body: object, headers: Mapping[str, str] | None = None
) -> EngineError:
    """Returns the error for a status and its body. It says what to do about a key or a model."""
    error = server_errors.status_error(url, status, body, headers)
    if isinstance(error, EngineUnavailable | ContextTooLong):
        return error
    message = error_message(body)
    if status == 404:
        return RequestRefused(
            f"the server at {url} does not have this model or path: check model=, and that the "
            f"address is complete, with /v1 if the server has that ({message})"
        )
    if status in (401, 403):
        return RequestRefused(
            f"the server at {url} wants another key: pass api_key=, or set OPENAI_API_KEY "
            f"({message})"
        )
    return error


def _text(parent: dict[str, object], name: str) -> str:
    text = parent.get(name)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise ValueError(f"{name} is not a string")
    return text
