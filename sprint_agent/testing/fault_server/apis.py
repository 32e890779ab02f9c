"""The APIs of a FaultServer: how each encodes requests and answers. Pure.

A dialect reads the body of a request. It turns an Answer into events of a stream or into one body.
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
"""The time in OpenAI's objects. It is constant, so that answers can be compared."""

_NATIVE_SAMPLING = """
    max_new_tokens stop stop_token_ids stop_regex temperature top_p top_k min_p frequency_penalty
    presence_penalty repetition_penalty min_new_tokens n json_schema regex ebnf structural_tag
    ignore_eos skip_special_tokens spaces_between_special_tokens no_stop_trim stream_interval
    logit_bias sampling_seed custom_params
"""


class ApiDialect(ABC):
    """How one API encodes requests and answers."""

    default_max_tokens: int
    """The most tokens of an answer if the request does not say."""

    refuses_in_stream = False
    """Whether the model refuses a streamed request inside a stream whose status is 200."""

    @abstractmethod
    def read(self, body: Json, tokenizer: Tokenizer) -> ParsedRequest:
        """Parses the body of a request.

        Raises:
            ValueError: the body is not a request of this API.
        """

    def opening(self, answer: Answer) -> list[Json]:
        """Returns the events before the first token."""
        return []

    @abstractmethod
    def events(self, answer: Answer, start: int, end: int, ending: Ending | None) -> list[Json]:
        """Returns the events for the ids `start` to `end`. With an ending, they are the last."""

    @abstractmethod
    def whole(self, answer: Answer, end: int, ending: Ending | None) -> Json:
        """Returns the body of an answer that is not streamed, with the ids up to `end`."""

    @abstractmethod
    def error(self, message: str, code: int | str | None, kind: str | None = None) -> Json:
        """Returns an error, which is used as a body and as an event."""


class SGLangDialect(ApiDialect):
    """SGLang's native `/generate`."""

    default_max_tokens: int = 128
    refuses_in_stream = True

    def __init__(self, incremental: bool) -> None:
        self._incremental = incremental

    def read(self, body: Json, tokenizer: Tokenizer) -> ParsedRequest:
        sampling = _object(body.get("sampling_params", {}), "sampling_params")
        unknown = sampling.keys() - set(_NATIVE_SAMPLING.split())
        if unknown:
            raise ValueError(f"unknown sampling parameters: {', '.join(sorted(unknown))}")
        ids = body.get("input_ids")
        prompt, text = _prompt(body.get("text") if ids is None else ids, tokenizer)
        return ParsedRequest(
            rid=str(body.get("rid") or uuid.uuid4().hex),
            prompt=prompt,
            text=text,
            stops=_stops(sampling.get("stop")),
            max_tokens=_count(sampling.get("max_new_tokens")),
            stream=bool(body.get("stream")),
            include_stop=bool(sampling.get("no_stop_trim")),
        )

    def events(self, answer: Answer, start: int, end: int, ending: Ending | None) -> list[Json]:
        event = self.whole(answer, end, ending)
        if self._incremental:
            event |= {"text": answer.piece(start, end), "output_ids": list(answer.ids[start:end])}
        return [event]

    def whole(self, answer: Answer, end: int, ending: Ending | None) -> Json:
        return {
            "text": answer.text_at(end),
            "output_ids": list(answer.ids[:end]),
            "meta_info": {
                "id": answer.request.rid,
                "finish_reason": _native_reason(ending, end),
                "prompt_tokens": len(answer.request.prompt),
                "completion_tokens": end,
                "cached_tokens": answer.cached_tokens,
            },
        }

    def error(self, message: str, code: int | str | None, kind: str | None = None) -> Json:
        details = {"message": message, "code": code}
        return {"error": details if kind is None else details | {"type": kind}}


class _OpenAIDialect(ApiDialect):
    """What OpenAI's two APIs share."""

    kind: str
    event_kind: str

    @abstractmethod
    def choices(self, answer: Answer, text: str, ending: Ending | None) -> list[Json]:
        """Returns the choices of the events that add `text`. An ending adds a finish reason."""

    @abstractmethod
    def content(self, answer: Answer, text: str) -> Json:
        """Returns the part of a complete answer's choice that contains its text."""

    def events(self, answer: Answer, start: int, end: int, ending: Ending | None) -> list[Json]:
        text = answer.piece(start, end)
        events = [self._event(answer, choice) for choice in self.choices(answer, text, ending)]
        if ending is not None and answer.request.wants_usage:
            events.append(self._event(answer, None) | {"usage": _usage(answer, end)})
        return events

    def whole(self, answer: Answer, end: int, ending: Ending | None) -> Json:
        choice = self.content(answer, answer.text_at(end)) | _choice_end(ending)
        body = _openai_object(answer, self.kind)
        return body | {"choices": [choice], "usage": _usage(answer, end)}

    def error(self, message: str, code: int | str | None, kind: str | None = None) -> Json:
        if kind is None and isinstance(code, int):
            kind = "invalid_request_error" if code < 500 else "server_error"
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}

    def _event(self, answer: Answer, choice: Json | None) -> Json:
        event = _openai_object(answer, self.event_kind)
        return event | {"choices": [] if choice is None else [choice]}


class CompletionDialect(_OpenAIDialect):
    """OpenAI's `/v1/completions`."""

    default_max_tokens: int = 16
    kind: str = "text_completion"
    event_kind: str = "text_completion"

    def read(self, body: Json, tokenizer: Tokenizer) -> ParsedRequest:
        prompt, text = _prompt(body.get("prompt"), tokenizer)
        return _openai_request(body, "cmpl", prompt, text, _count(body.get("max_tokens")))

    def choices(self, answer: Answer, text: str, ending: Ending | None) -> list[Json]:
        return [{"text": text, "logprobs": None} | _choice_end(ending)]

    def content(self, answer: Answer, text: str) -> Json:
        return {"text": text, "logprobs": None}


class ChatDialect(_OpenAIDialect):
    """OpenAI's `/v1/chat/completions`. The script gets one paragraph `role: content` a message."""

    default_max_tokens: int = sys.maxsize
    kind: str = "chat.completion"
    event_kind: str = "chat.completion.chunk"

    def read(self, body: Json, tokenizer: Tokenizer) -> ParsedRequest:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise ValueError("messages must be a list of messages that is not empty")
        text = "\n\n".join(_message(message) for message in cast("list[object]", messages))
        max_tokens = _count(body.get("max_completion_tokens", body.get("max_tokens")))
        prompt = tuple(tokenizer.encode(text))
        return _openai_request(body, "chatcmpl", prompt, text, max_tokens)

    def opening(self, answer: Answer) -> list[Json]:
        delta = {"delta": {"role": "assistant", "content": ""}, "logprobs": None}
        return [self._event(answer, delta | _choice_end(None))]

    def choices(self, answer: Answer, text: str, ending: Ending | None) -> list[Json]:
        key = "refusal" if answer.declined else "content"
        delta: Json = {"delta": {key: text}, "logprobs": None}
        choices = [delta | _choice_end(None)] if text or ending is None else []
        if ending is not None:
            end: Json = {"delta": {}, "logprobs": None}
            choices.append(end | _choice_end(ending))
        return choices

    def content(self, answer: Answer, text: str) -> Json:
        refusal = {"content": None, "refusal": text} if answer.declined else {"content": text}
        return {"message": {"role": "assistant"} | refusal, "logprobs": None}


def self_description(path: str, model: Model, incremental: bool) -> Json | None:
    """Returns what a server of both APIs reports about itself on a path, or None."""
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
        abort = {"type": "abort", "message": ending.matched, "status_code": ending.status}
        return abort | {"err_type": None}
    if ending.kind == "length":
        return {"type": "length", "length": length}
    return {"type": "stop", "matched": ending.matched}


def _openai_request(
    body: Json,
    kind: Literal["cmpl", "chatcmpl"],
    prompt: tuple[int, ...],
    text: str | None,
    max_tokens: int | None,
) -> ParsedRequest:
    if body.get("n") not in (None, 1):
        raise ValueError("this server returns one choice: n must be 1")
    options = _object(body.get("stream_options") or {}, "stream_options")
    return ParsedRequest(
        rid=str(body.get("rid") or f"{kind}-{uuid.uuid4().hex}"),
        prompt=prompt,
        text=text,
        stops=_stops(body.get("stop")),
        max_tokens=max_tokens,
        stream=bool(body.get("stream")),
        wants_usage=bool(options.get("include_usage")),
    )


def _openai_object(answer: Answer, kind: str) -> Json:
    return {
        "id": answer.request.rid,
        "object": kind,
        "created": _CREATED,
        "model": answer.model.name,
    }


def _choice_end(ending: Ending | None) -> Json:
    return {"index": 0, "finish_reason": None if ending is None else ending.kind}


def _usage(answer: Answer, end: int) -> Json:
    prompt = len(answer.request.prompt)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": end,
        "total_tokens": prompt + end,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
    }


def _prompt(value: object, tokenizer: Tokenizer) -> tuple[tuple[int, ...], str | None]:
    """Returns a prompt's ids, and its text if it is text. `value` may be a list of one prompt."""
    if isinstance(value, str):
        return tuple(tokenizer.encode(value)), value
    if not isinstance(value, list):
        raise ValueError("the prompt is neither text nor a list of ids")
    items = cast("list[object]", value)
    if len(items) == 1 and isinstance(items[0], str | list):
        return _prompt(cast("object", items[0]), tokenizer)
    ids = tuple(item for item in items if isinstance(item, int))
    if len(ids) != len(items):
        raise ValueError("this server accepts one prompt: text or a list of ids")
    return ids, None


def _message(value: object) -> str:
    message = _object(value, "a message")
    content = message.get("content")
    if isinstance(content, list):
        parts = [_object(part, "a part") for part in cast("list[object]", content)]
        content = "".join(str(part.get("text", "")) for part in parts)
    return f"{message.get('role')}: {content or ''}"


def _stops(value: object) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value or []
    if not isinstance(stops, list):
        raise ValueError("stop is neither a string nor a list of strings")
    return tuple(str(stop) for stop in cast("list[object]", stops) if stop != "")


def _count(value: object) -> int | None:
    if value is not None and (not isinstance(value, int) or value < 1):
        raise ValueError(f"{value!r} is not a positive number of tokens")
    return value


def _object(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not a JSON object")
    return cast("Json", value)
