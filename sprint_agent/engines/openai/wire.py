"""What goes over the wire to an OpenAI-compatible server and comes back. Pure: no I/O, no await.

Such servers differ in what they take and in how they stop:

* Some refuse parameters that others need. What one refuses is left out from then on (`Terms`).
* A stop string that a server ends at is mostly not in its text, and few say which one it was. So stops
  are only sent to servers that can leave them in the text; elsewhere the stream is left at the stop.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

from sprint_agent.engine import Sampling, TokenUsage
from sprint_agent.engines.http_client import as_object, message, refusal
from sprint_agent.errors import ContextTooLong, EngineError, EngineUnavailable, RequestRefused

_KEEPS_STOP = {"vllm": "include_stop_str_in_output", "sglang": "no_stop_trim"}
"""How a server is asked to leave a stop in the text, by who owns its models."""

_OPTIONAL = frozenset(
    {"stream_options", "response_format", "seed", "temperature", "top_p", "max_tokens"}
)
"""What may be left out; in place of `max_tokens`, its newer name is sent."""

_UNSUPPORTED = re.compile(r"unsupported (?:parameter|value): '(\w+)'", re.IGNORECASE)
_NAMED = re.compile(r"(stream_options)|response[_ ]format|json_schema", re.IGNORECASE)
_TOO_LONG = re.compile(r"context.(?:length|window|size)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a server takes, as far as it is known.

    `keeps_stop` is the parameter by which it leaves a stop string in the text; `refuses` are the
    parameters that it does not take.
    """

    keeps_stop: str | None = None
    refuses: frozenset[str] = frozenset()

    def learn(self, status: int, said: object) -> Terms | None:
        """The terms that a refusal asks for. None where it is about something else."""
        if status not in (400, 422):
            return None
        name = _unsupported(said)
        if name not in _OPTIONAL or name in self.refuses:
            return None
        return replace(self, refuses=self.refuses | {name})


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event of a stream. `generated` says whether it holds a token, even one of no text."""

    text: str = ""
    refusal: str = ""
    generated: bool = False
    finish: str | None = None
    usage: TokenUsage | None = None
    last: bool = False
    """Whether it holds the usage alone, which comes behind all else."""


def read_model(said: dict[str, object], model: str) -> tuple[Terms, int | None]:
    """What a list of models says about `model`: its server's terms, and its context length."""
    cards = said.get("data")
    for card in cast("list[object]", cards) if isinstance(cards, list) else []:
        facts = cast("dict[str, object]", card) if isinstance(card, dict) else {}
        if facts.get("id") == model:
            keeps_stop = _KEEPS_STOP.get(str(facts.get("owned_by")))
            return Terms(keeps_stop), _context_length(facts)
    return Terms(), None


def _context_length(card: dict[str, object]) -> int | None:
    """What a model's card says of its context: vLLM and SGLang in one way, llama.cpp in another."""
    meta = card.get("meta")
    more = cast("dict[str, object]", meta) if isinstance(meta, dict) else {}
    length = card.get("max_model_len", more.get("n_ctx"))
    return length if isinstance(length, int) else None


def parameters(
    sampling: Sampling, max_tokens: int, stop: tuple[str, ...], terms: Terms
) -> dict[str, object]:
    """The part of a body that completions and chat have in common."""
    options: dict[str, object] = {"include_usage": True}
    asked: dict[str, object] = {
        "stream": True,
        "stream_options": options,
        "max_tokens": max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if sampling.seed is not None:
        asked["seed"] = sampling.seed
    if terms.keeps_stop is not None:
        # The servers with this extension have that one too: usage in each event.
        options["continuous_usage_stats"] = True
        if stop:
            asked |= {"stop": list(stop), terms.keeps_stop: True}
    if "max_tokens" in terms.refuses:
        asked["max_completion_tokens"] = max_tokens
    return {name: value for name, value in asked.items() if name not in terms.refuses}


def read_chunk(said: dict[str, object]) -> Chunk:
    """An event that is no error, of either endpoint. ValueError where it is not one of OpenAI's."""
    choices, usage = said.get("choices"), read_usage(said.get("usage"))
    if not isinstance(choices, list):
        raise ValueError("choices is no list")
    if not choices:
        return Chunk(usage=usage, last=usage is not None)
    choice = as_object(cast("list[object]", choices)[0])
    delta = as_object(choice.get("delta") or {})
    text = _text(choice, "text") or _text(delta, "content")
    refused = _text(delta, "refusal")
    hidden = any(delta.get(name) for name in ("reasoning_content", "reasoning", "tool_calls"))
    return Chunk(
        text=text,
        refusal=refused,
        generated=bool(text or refused or hidden),
        finish=_text(choice, "finish_reason") or None,
        usage=usage,
    )


def ending(url: str, finish: str) -> Literal["end", "length"]:
    """Why an answer ended. EngineError for an ending that leaves no answer."""
    match finish:
        case "stop":
            return "end"
        case "length":
            return "length"
        case "content_filter":
            raise EngineError(
                f"the content filter of the server at {url} cut the answer: reword it"
            )
        case "tool_calls" | "function_call":
            raise EngineError(
                f"the model at {url} called a tool, though none was offered: turn the server's tool "
                "parser off, or use another model"
            )
        case _:
            raise EngineError(f"the server at {url} ended for {finish!r}, which is not known here")


def refused(
    url: str, status: object, said: object, headers: Mapping[str, str] | None = None
) -> EngineError:
    """The error that a status and a server's words mean; see `servers.refusal`."""
    words = message(said)
    error = refusal(url, status, said, headers)
    if isinstance(error, EngineUnavailable):
        return error
    if _TOO_LONG.search(f"{words} {field(said, 'code')}"):
        return ContextTooLong(
            f"prompt and answer do not fit into the context of the model at {url}: ask for fewer "
            f"max_tokens, or shorten the question ({words})"
        )
    if status == 404:
        return RequestRefused(
            f"the server at {url} does not have that: check model=, and that the address is whole, "
            f"with /v1 where it has that ({words})"
        )
    if status in (401, 403):
        return RequestRefused(
            f"the server at {url} wants another key: pass api_key=, or set OPENAI_API_KEY ({words})"
        )
    return error


def _unsupported(said: object) -> str | None:
    """The parameter that a refusal says the server does not take."""
    words = message(said)
    found = _UNSUPPORTED.search(words)
    if found:
        return found[1]
    if field(said, "code") in ("unsupported_parameter", "unsupported_value"):
        return str(field(said, "param"))
    # Servers that check bodies strictly name the field in words of their own.
    found = _NAMED.search(words)
    return (found[1] or "response_format") if found else None


def field(said: object, name: str) -> object:
    """A field of an error, which some servers wrap into an object."""
    if not isinstance(said, dict):
        return None
    facts = cast("dict[str, object]", said)
    inner = facts.get("error", facts)
    return cast("dict[str, object]", inner).get(name) if isinstance(inner, dict) else None


def _text(holder: dict[str, object], name: str) -> str:
    text = holder.get(name)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise ValueError(f"{name} is no text")
    return text


def read_usage(said: object) -> TokenUsage | None:
    """The usage in an event, or a body, where there is one that can be read."""
    if not isinstance(said, dict):
        return None
    facts = cast("dict[str, object]", said)
    prompt, completion = facts.get("prompt_tokens"), facts.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    details = facts.get("prompt_tokens_details")
    named = cast("dict[str, object]", details) if isinstance(details, dict) else {}
    cached = named.get("cached_tokens")
    return TokenUsage(prompt, completion, cached if isinstance(cached, int) else 0)
