"""The requests to an OpenAI-compatible server and the events that it returns. Pure: no I/O, no await.

Such servers differ in the parameters that they accept and in how they stop (`ServerQuirks`):

* Some refuse parameters that others need. A refused parameter is omitted from then on.
* Most servers leave the stop string out of their text, and few say which one it was. So stops are sent
  only to servers that can keep them in the text. On other servers, the client finds the stop and
  closes the stream.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

from sprint_agent.engine import Sampling, TokenUsage
from sprint_agent.engines import http_client
from sprint_agent.engines.http_client import as_object, error_message
from sprint_agent.errors import ContextTooLong, EngineError, EngineUnavailable, RequestRefused

_STOP_IN_TEXT = {"vllm": "include_stop_str_in_output", "sglang": "no_stop_trim"}
"""The parameter that makes a server keep a stop in the text, by the owner of its models."""

_OPTIONAL = frozenset(
    {"stream_options", "response_format", "seed", "temperature", "top_p", "max_tokens"}
)
"""The parameters that may be omitted. If `max_tokens` is refused, its newer name is sent instead."""

_UNSUPPORTED = re.compile(r"unsupported (?:parameter|value): '(\w+)'", re.IGNORECASE)
_NAMED = re.compile(r"(stream_options)|response[_ ]format|json_schema", re.IGNORECASE)
_TOO_LONG = re.compile(r"context.(?:length|window|size)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ServerQuirks:
    """How a server differs from others, as far as it is known."""

    stop_in_text_parameter: str | None = None
    """The parameter that makes the server keep a stop string in the text. None if it has none."""

    refuses: frozenset[str] = frozenset()
    """The parameters that the server refuses."""

    def after_refusal(self, status: int, body: object) -> ServerQuirks | None:
        """Returns the quirks after a response that refuses one more parameter.

        Returns None if the response is about something else, so that it is an error.
        """
        if status not in (400, 422):
            return None
        name = _unsupported(body)
        if name not in _OPTIONAL or name in self.refuses:
            return None
        return replace(self, refuses=self.refuses | {name})


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event of a stream."""

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
            stop_in_text = _STOP_IN_TEXT.get(str(facts.get("owned_by")))
            return ServerQuirks(stop_in_text), _context_length(facts)
    return ServerQuirks(), None


def _context_length(card: dict[str, object]) -> int | None:
    """Returns the context length in a model's card, as vLLM and SGLang or as llama.cpp write it."""
    meta = card.get("meta")
    details = cast("dict[str, object]", meta) if isinstance(meta, dict) else {}
    length = card.get("max_model_len", details.get("n_ctx"))
    return length if isinstance(length, int) else None


def parameters(
    sampling: Sampling, max_tokens: int, stop: tuple[str, ...], quirks: ServerQuirks
) -> dict[str, object]:
    """Returns the part of a body that is the same for completions and chat."""
    options: dict[str, object] = {"include_usage": True}
    body: dict[str, object] = {
        "stream": True,
        "stream_options": options,
        "max_tokens": max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if quirks.stop_in_text_parameter is not None:
        # The servers with this extension also have another one: usage in each event.
        options["continuous_usage_stats"] = True
        if stop:
            body |= {"stop": list(stop), quirks.stop_in_text_parameter: True}
    if "max_tokens" in quirks.refuses:
        body["max_completion_tokens"] = max_tokens
    return {name: value for name, value in body.items() if name not in quirks.refuses}


def read_chunk(event: dict[str, object]) -> Chunk:
    """Reads an event that is not an error, from either endpoint.

    Raises:
        ValueError: It is not an event of OpenAI's API.
    """
    choices, usage = event.get("choices"), read_usage(event.get("usage"))
    if not isinstance(choices, list):
        raise ValueError("choices is not a list")
    if not choices:
        return Chunk(usage=usage, last=usage is not None)
    choice = as_object(cast("list[object]", choices)[0])
    delta = as_object(choice.get("delta") or {})
    text = _text(choice, "text") or _text(delta, "content")
    refusal = _text(delta, "refusal")
    hidden = any(delta.get(name) for name in ("reasoning_content", "reasoning", "tool_calls"))
    return Chunk(
        text=text,
        refusal=refusal,
        generated=bool(text or refusal or hidden),
        finish=_text(choice, "finish_reason") or None,
        usage=usage,
    )


def finish_reason(url: str, finish: str) -> Literal["end", "length"]:
    """Returns why an answer ended.

    Raises:
        EngineError: The server stopped for a reason that leaves no answer.
    """
    match finish:
        case "stop":
            return "end"
        case "length":
            return "length"
        case "content_filter":
            raise EngineError(
                f"the content filter of the server at {url} cut the answer off: reword the prompt"
            )
        case "tool_calls" | "function_call":
            raise EngineError(
                f"the model at {url} called a tool, but none was offered: turn the server's tool "
                "parser off, or use another model"
            )
        case _:
            raise EngineError(
                f"the server at {url} gave the finish reason {finish!r}, which this engine does not "
                "know"
            )


def status_error(
    url: str, status: object, body: object, headers: Mapping[str, str] | None = None
) -> EngineError:
    """Returns the error for a status and its body. It is more specific than `http_client`'s."""
    message = error_message(body)
    error = http_client.status_error(url, status, body, headers)
    if isinstance(error, EngineUnavailable):
        return error
    if _TOO_LONG.search(f"{message} {error_field(body, 'code')}"):
        return ContextTooLong(
            f"the prompt and its answer do not fit into the context of the model at {url}: ask for "
            f"fewer max_tokens, or shorten the question ({message})"
        )
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


def _unsupported(body: object) -> str | None:
    """Returns the parameter that the server refuses, according to the body of its response."""
    message = error_message(body)
    match = _UNSUPPORTED.search(message)
    if match:
        return match[1]
    if error_field(body, "code") in ("unsupported_parameter", "unsupported_value"):
        return str(error_field(body, "param"))
    # Servers that validate bodies strictly name the field in various other ways.
    match = _NAMED.search(message)
    return (match[1] or "response_format") if match else None


def error_field(body: object, name: str) -> object:
    """Returns a field of an error, which some servers put into an object named "error"."""
    if not isinstance(body, dict):
        return None
    facts = cast("dict[str, object]", body)
    inner = facts.get("error", facts)
    return cast("dict[str, object]", inner).get(name) if isinstance(inner, dict) else None


def _text(parent: dict[str, object], name: str) -> str:
    text = parent.get(name)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise ValueError(f"{name} is not a string")
    return text


def read_usage(usage: object) -> TokenUsage | None:
    """Returns the usage in an event or a body, or None if there is none or it cannot be read."""
    if not isinstance(usage, dict):
        return None
    counts = cast("dict[str, object]", usage)
    prompt, completion = counts.get("prompt_tokens"), counts.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    value = counts.get("prompt_tokens_details")
    details = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    cached = details.get("cached_tokens")
    return TokenUsage(prompt, completion, cached if isinstance(cached, int) else 0)
