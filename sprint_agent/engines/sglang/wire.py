"""The requests to an SGLang server and the events that it returns. Pure: no I/O, no await."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from sprint_agent.engine import Request
from sprint_agent.engines.http_client import as_object
from sprint_agent.engines.usage import read_count
from sprint_agent.engines.validate import checked_prompt
from sprint_agent.errors import RequestRefused

# SGLang aborts by prefix of the id, so an id could abort the request of a longer id.
_ID_CHARACTERS = 32


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event of a stream."""

    ids: list[int]
    """All ids so far, or only the new ones. It depends on the server's settings."""

    sampled: int | None
    """How many ids were sampled so far, as the server says. None if it does not say."""

    cached: int
    """How many ids of the prompt were cached, as the server says."""

    finish: dict[str, object] | None
    """Why the server stopped. None while it is generating."""


def priority_of(request: Request, state: dict[str, object]) -> int | None:
    """Returns a request's priority, by which older runs go first.

    The priority has a resolution of one second, so a run that is slightly older does not preempt the
    requests of another run. Returns None if the server has no priorities or the request has no run.
    """
    if request.run is None or state.get("enable_priority_scheduling") is not True:
        return None
    began = int(request.run.began)
    return began if state.get("schedule_low_priority_values_first") is True else -began


def request_body(
    request: Request, vocab_size: int, context_length: int | None, priority: int | None = None
) -> dict[str, object]:
    """Returns the body of a request to `/generate`.

    Raises:
        RequestRefused: The request cannot be run.
        ContextTooLong: The prompt leaves no room for an answer.
    """
    if len(request.request_id) != _ID_CHARACTERS:
        raise RequestRefused(
            f"the request id {request.request_id!r} must have {_ID_CHARACTERS} characters: "
            "use new_request_id()"
        )
    prompt, sampling = checked_prompt(request, vocab_size, context_length), request.sampling
    max_tokens = sampling.max_tokens
    if context_length is not None:
        max_tokens = min(max_tokens, context_length - len(prompt))
    parameters: dict[str, object] = {
        "max_new_tokens": max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop": list(request.stop),
        # With these two, the text and the ids of an event belong to the same tokens.
        "no_stop_trim": True,
        "skip_special_tokens": False,
    }
    if sampling.seed is not None:
        parameters["sampling_seed"] = sampling.seed
    body: dict[str, object] = {
        "rid": request.request_id,
        "input_ids": list(prompt),
        "sampling_params": parameters,
        "stream": True,
    }
    return body if priority is None else body | {"priority": priority}


def read_chunk(event: dict[str, object]) -> Chunk | None:
    """Reads an event that is not an error. Returns None if it is not SGLang's, such as a heartbeat.

    Raises:
        ValueError: It is an event of SGLang, but cannot be read.
    """
    if not event.keys() & {"meta_info", "output_ids"}:
        return None
    meta = as_object(event.get("meta_info"))
    ids, finish = event.get("output_ids"), meta.get("finish_reason")
    if not isinstance(ids, list):
        raise ValueError("output_ids is not a list")
    return Chunk(
        cast("list[int]", ids),
        read_count(meta, "completion_tokens"),
        read_count(meta, "cached_tokens") or 0,
        None if finish is None else as_object(finish),
    )
