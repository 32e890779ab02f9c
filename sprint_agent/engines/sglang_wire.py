"""What goes over the wire to an SGLang server and comes back. Pure: no I/O, no await."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import cast

from sprint_agent import retry
from sprint_agent.engines.base import Request, TokenUsage
from sprint_agent.engines.requests import checked_prompt
from sprint_agent.errors import EngineError, EngineUnavailable, RequestRefused

# SGLang aborts by prefix of the id, so ids of different lengths could end each other's requests.
_ID_CHARACTERS = 32

_MESSAGE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event of a stream: the ids so far (or the new ones), what they cost, why they ended."""

    ids: list[int]
    usage: TokenUsage
    finish: dict[str, object] | None


def request_body(
    request: Request, vocab_size: int, context_length: int | None
) -> dict[str, object]:
    """The body of `/generate`. RequestRefused or ContextTooLong for what cannot be run."""
    if len(request.request_id) != _ID_CHARACTERS:
        raise RequestRefused(
            f"the request id {request.request_id!r} has not {_ID_CHARACTERS} characters"
        )
    prompt, sampling = checked_prompt(request, vocab_size, context_length), request.sampling
    most = sampling.max_tokens
    if context_length is not None:
        most = min(most, context_length - len(prompt))
    parameters: dict[str, object] = {
        "max_new_tokens": most,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop": list(request.stop),
        # Text and ids of an event are then those of the same tokens.
        "no_stop_trim": True,
        "skip_special_tokens": False,
    }
    if sampling.seed is not None:
        parameters["sampling_seed"] = sampling.seed
    return {
        "rid": request.request_id,
        "input_ids": list(prompt),
        "sampling_params": parameters,
        "stream": True,
    }


def read_object(text: str) -> dict[str, object]:
    """A JSON object. ValueError where it is none."""
    try:
        said: object = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return _object(said)


def read_error(text: str) -> object:
    """What an error's body says, JSON or not."""
    try:
        return read_object(text)
    except ValueError:
        return text


def error_code(said: dict[str, object]) -> object:
    """The HTTP status in an event that holds an error; it is sent where the response's is 200."""
    error = said.get("error")
    return cast("dict[str, object]", error).get("code") if isinstance(error, dict) else None


def read_chunk(said: dict[str, object]) -> Chunk:
    """An event that is no error. ValueError where it is not one of SGLang's."""
    meta = _object(said.get("meta_info"))
    ids, finish = said.get("output_ids"), meta.get("finish_reason")
    if not isinstance(ids, list):
        raise ValueError("output_ids is no list")
    usage = TokenUsage(
        _count(meta, "prompt_tokens"),
        _count(meta, "completion_tokens"),
        _count(meta, "cached_tokens"),
    )
    return Chunk(cast("list[int]", ids), usage, None if finish is None else _object(finish))


def refusal(
    url: str, status: object, said: object, retry_after: float | None = None
) -> EngineError:
    """The error that an HTTP status (of a response, or in an event) and a server's words mean."""
    message = _message(said)
    if isinstance(status, int) and retry.is_transient(status):
        what = "is too busy" if status == 429 else "failed"
        return EngineUnavailable(
            f"the server at {url} {what} ({status}): {message}",
            transient=True,
            retry_after=retry_after,
        )
    if isinstance(status, int) and 400 <= status < 500:
        return RequestRefused(f"the server at {url} refused the request: {message}")
    return EngineError(f"the server at {url} gave the request up: {message}")


def _message(said: object) -> str:
    for key in ("error", "message", "detail"):
        if isinstance(said, dict):
            said = cast("dict[str, object]", said).get(key, cast("object", said))
    return " ".join(str(said).split())[:_MESSAGE_CHARACTERS] or "it did not say why"


def _object(said: object) -> dict[str, object]:
    if not isinstance(said, dict):
        raise ValueError("not a JSON object")
    return cast("dict[str, object]", said)


def _count(meta: dict[str, object], name: str) -> int:
    count = meta.get(name)
    if not isinstance(count, int):
        raise ValueError(f"{name} is no number")
    return count
