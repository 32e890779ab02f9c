"""The APIs that a FaultServer speaks: how each asks, and how each says an answer. Pure.

A voice reads a request's body, and makes the events of a stream, or the one body, out of an Answer.
"""

from __future__ import annotations

import sys
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, cast

from sprint_agent.engine import Tokenizer
from sprint_agent.testing.fault_server.answers import Answer, Ending, Model, ParsedRequest

Json = dict[str, Any]

_CREATED = 1_700_000_000
"""A time that OpenAI's objects carry; always the same, so that answers can be compared."""

_NATIVE_SAMPLING = """
    max_new_tokens stop stop_token_ids stop_regex temperature top_p top_k min_p frequency_penalty
    presence_penalty repetition_penalty min_new_tokens n json_schema regex ebnf structural_tag
    ignore_eos skip_special_tokens spaces_between_special_tokens no_stop_trim stream_interval
    logit_bias sampling_seed custom_params
"""


class ApiDialect(ABC):
    """One API's way to ask and to answer."""

    default_most: int
    """How many tokens an answer may have where the request does not say."""

    refuses_in_stream = False
    """Whether a request that the model refuses is told so in a stream whose status is 200."""

    @abstractmethod
    def read(self, body: Json, tokenizer: Tokenizer) -> ParsedRequest:
        """A request's body. ValueError where it is none of this API."""

    def opening(self, answer: Answer) -> list[Json]:
        """The events before the first token."""
        return []

    @abstractmethod
    def events(self, answer: Answer, start: int, end: int, ending: Ending | None) -> list[Json]:
        """The events for the ids from `start` to `end`; with an ending, they are the last."""

    @abstractmethod
    def whole(self, answer: Answer, end: int, ending: Ending | None) -> Json:
        """The body of an answer of so many ids that is not streamed."""

    @abstractmethod
    def error(self, message: str, code: int) -> Json:
        """An error, as a body and as an event."""


class SGLangVoice(ApiDialect):
    """SGLang's native `/generate`."""

    default_most = 128
    refuses_in_stream = True

    def __init__(self, incremental: bool) -> None:
        self._incremental = incremental

    def read(self, body: Json, tokenizer: Tokenizer) -> ParsedRequest:
        sampling = _object(body.get("sampling_params", {}), "sampling_params")
        unknown = sampling.keys() - set(_NATIVE_SAMPLING.split())
        if unknown:
            raise ValueError(f"unknown sampling parameters: {', '.join(sorted(unknown))}")
        given = body.get("input_ids")
        prompt, text = _prompt(body.get("text") if given is None else given, tokenizer)
        return ParsedRequest(
            rid=str(body.get("rid") or uuid.uuid4().hex),
            prompt=prompt,
            text=text,
            stops=_stops(sampling.get("stop")),
            most=_count(sampling.get("max_new_tokens")),
            stream=bool(body.get("stream")),
            shows_end=bool(sampling.get("no_stop_trim")),
        )

    def events(self, answer: Answer, start: int, end: int, ending: Ending | None) -> list[Json]:
        said = self.whole(answer, end, ending)
        if self._incremental:
            said |= {"text": answer.piece(start, end), "output_ids": list(answer.ids[start:end])}
        return [said]

    def whole(self, answer: Answer, end: int, ending: Ending | None) -> Json:
        return {
            "text": answer.text_at(end),
            "output_ids": list(answer.ids[:end]),
            "meta_info": {
                "id": answer.asking.rid,
                "finish_reason": _native_reason(ending, end),
                "prompt_tokens": len(answer.asking.prompt),
                "completion_tokens": end,
                "cached_tokens": answer.cached_tokens,
            },
        }

    def error(self, message: str, code: int) -> Json:
        return {"error": {"message": message, "code": code}}


class _OpenAIVoice(ApiDialect):
    """What OpenAI's two APIs have in common."""

    kind: str
    event_kind: str

    @abstractmethod
    def choices(self, answer: Answer, text: str, ending: Ending | None) -> list[Json]:
        """The choices of the events that add `text` and, with an ending, finish."""

    @abstractmethod
    def content(self, answer: Answer, text: str) -> Json:
        """The part of a whole answer's choice that holds its text."""

    def events(self, answer: Answer, start: int, end: int, ending: Ending | None) -> list[Json]:
        text = answer.piece(start, end)
        said = [self._event(answer, choice) for choice in self.choices(answer, text, ending)]
        if ending is not None and answer.asking.wants_usage:
            said.append(self._event(answer, None) | {"usage": _usage(answer, end)})
        return said

    def whole(self, answer: Answer, end: int, ending: Ending | None) -> Json:
        choice = self.content(answer, answer.text_at(end)) | _choice_end(ending)
        said = _openai_object(answer, self.kind)
        return said | {"choices": [choice], "usage": _usage(answer, end)}

    def error(self, message: str, code: int) -> Json:
        kind = "invalid_request_error" if code < 500 else "server_error"
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}

    def _event(self, answer: Answer, choice: Json | None) -> Json:
        said = _openai_object(answer, self.event_kind)
        return said | {"choices": [] if choice is None else [choice]}


class CompletionVoice(_OpenAIVoice):
    """OpenAI's `/v1/completions`."""

    default_most = 16
    kind = event_kind = "text_completion"

    def read(self, body: Json, tokenizer: Tokenizer) -> ParsedRequest:
        prompt, text = _prompt(body.get("prompt"), tokenizer)
        return _openai_asking(body, "cmpl", prompt, text, _count(body.get("max_tokens")))

    def choices(self, answer: Answer, text: str, ending: Ending | None) -> list[Json]:
        return [{"text": text, "logprobs": None} | _choice_end(ending)]

    def content(self, answer: Answer, text: str) -> Json:
        return {"text": text, "logprobs": None}


class ChatVoice(_OpenAIVoice):
    """OpenAI's `/v1/chat/completions`. The script is given `role: content`, a paragraph each."""

    default_most = sys.maxsize
    kind, event_kind = "chat.completion", "chat.completion.chunk"

    def read(self, body: Json, tokenizer: Tokenizer) -> ParsedRequest:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise ValueError("messages is no list of messages")
        text = "\n\n".join(_message(message) for message in cast("list[object]", messages))
        most = body.get("max_completion_tokens", body.get("max_tokens"))
        return _openai_asking(body, "chatcmpl", tuple(tokenizer.encode(text)), text, _count(most))

    def opening(self, answer: Answer) -> list[Json]:
        delta = {"delta": {"role": "assistant", "content": ""}, "logprobs": None}
        return [self._event(answer, delta | _choice_end(None))]

    def choices(self, answer: Answer, text: str, ending: Ending | None) -> list[Json]:
        key = "refusal" if answer.declined else "content"
        delta: Json = {"delta": {key: text}, "logprobs": None}
        said = [delta | _choice_end(None)] if text or ending is None else []
        if ending is not None:
            end: Json = {"delta": {}, "logprobs": None}
            said.append(end | _choice_end(ending))
        return said

    def content(self, answer: Answer, text: str) -> Json:
        refusal = {"content": None, "refusal": text} if answer.declined else {"content": text}
        return {"message": {"role": "assistant"} | refusal, "logprobs": None}


def self_description(path: str, model: Model, incremental: bool) -> Json | None:
    """What a server of both APIs says of itself on one of its paths; None on any other."""
    name, context = model.name, model.context_length
    match path:
        case "/model_info" | "/get_model_info":
            return {"model_path": name, "tokenizer_path": name, "is_generation": True}
        case "/server_info" | "/get_server_info":
            lengths = {"context_length": context, "max_req_input_len": context}
            return {"model_path": name, "incremental_streaming_output": incremental, **lengths}
        case "/v1/models":
            card = {"id": name, "object": "model", "created": _CREATED, "owned_by": "sprint-agent"}
            return {"object": "list", "data": [card | {"max_model_len": context}]}
        case _:
            return None


def _native_reason(ending: Ending | None, length: int) -> Json | None:
    if ending is None:
        return None
    if ending.kind == "abort":
        return {"type": "abort", "message": "Aborted", "status_code": None, "err_type": None}
    if ending.kind == "length":
        return {"type": "length", "length": length}
    return {"type": "stop", "matched": ending.matched}


def _openai_asking(
    body: Json,
    kind: Literal["cmpl", "chatcmpl"],
    prompt: tuple[int, ...],
    text: str | None,
    most: int | None,
) -> ParsedRequest:
    if body.get("n") not in (None, 1):
        raise ValueError("this server gives one choice: n must be 1")
    options = _object(body.get("stream_options") or {}, "stream_options")
    return ParsedRequest(
        rid=str(body.get("rid") or f"{kind}-{uuid.uuid4().hex}"),
        prompt=prompt,
        text=text,
        stops=_stops(body.get("stop")),
        most=most,
        stream=bool(body.get("stream")),
        wants_usage=bool(options.get("include_usage")),
    )


def _openai_object(answer: Answer, kind: str) -> Json:
    return {
        "id": answer.asking.rid,
        "object": kind,
        "created": _CREATED,
        "model": answer.model.name,
    }


def _choice_end(ending: Ending | None) -> Json:
    return {"index": 0, "finish_reason": None if ending is None else ending.kind}


def _usage(answer: Answer, end: int) -> Json:
    prompt = len(answer.asking.prompt)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": end,
        "total_tokens": prompt + end,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
    }


def _prompt(given: object, tokenizer: Tokenizer) -> tuple[tuple[int, ...], str | None]:
    """A prompt's ids and, where it came as text, that; or of a list of one prompt."""
    if isinstance(given, str):
        return tuple(tokenizer.encode(given)), given
    if not isinstance(given, list):
        raise ValueError("the prompt is neither text nor ids")
    items = cast("list[object]", given)
    if len(items) == 1 and isinstance(items[0], str | list):
        return _prompt(cast("object", items[0]), tokenizer)
    ids = tuple(item for item in items if isinstance(item, int))
    if len(ids) != len(items):
        raise ValueError("this server takes one prompt: text, or a list of ids")
    return ids, None


def _message(said: object) -> str:
    message = _object(said, "a message")
    content = message.get("content")
    if isinstance(content, list):
        parts = [_object(part, "a part") for part in cast("list[object]", content)]
        content = "".join(str(part.get("text", "")) for part in parts)
    return f"{message.get('role')}: {content or ''}"


def _stops(given: object) -> tuple[str, ...]:
    stops = [given] if isinstance(given, str) else given or []
    if not isinstance(stops, list):
        raise ValueError("stop is neither a text nor a list of texts")
    return tuple(str(stop) for stop in cast("list[object]", stops) if stop != "")


def _count(given: object) -> int | None:
    if given is not None and (not isinstance(given, int) or given < 1):
        raise ValueError(f"{given!r} is no number of tokens")
    return given


def _object(said: object, name: str) -> Mapping[str, Any]:
    if not isinstance(said, dict):
        raise ValueError(f"{name} is no JSON object")
    return cast("Json", said)
