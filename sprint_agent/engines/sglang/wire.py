"""What goes over the wire to an SGLang server and comes back. Pure: no I/O, no await."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from sprint_agent.engine import Request, TokenUsage
from sprint_agent.engines.http_client import as_object
from sprint_agent.engines.validate import checked_prompt
from sprint_agent.errors import RequestRefused

# SGLang aborts by prefix of the id, so ids of different lengths could end each other's requests.
_ID_CHARACTERS = 32


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event of a stream: the ids so far (or the new ones), what they cost, why they ended."""

    ids: list[int]
    usage: TokenUsage
    finish: dict[str, object] | None


def priority_of(request: Request, state: dict[str, object]) -> int | None:
    """A request's priority, by which older runs go first; None where the server has none.

    It counts in seconds: a run that is a little older does not push another's requests out.
    """
    if request.run is None or state.get("enable_priority_scheduling") is not True:
        return None
    began = int(request.run.began)
    return began if state.get("schedule_low_priority_values_first") is True else -began


def request_body(
    request: Request, vocab_size: int, context_length: int | None, priority: int | None = None
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
    body: dict[str, object] = {
        "rid": request.request_id,
        "input_ids": list(prompt),
        "sampling_params": parameters,
        "stream": True,
    }
    return body if priority is None else body | {"priority": priority}


def read_chunk(said: dict[str, object]) -> Chunk:
    """An event that is no error. ValueError where it is not one of SGLang's."""
    meta = as_object(said.get("meta_info"))
    ids, finish = said.get("output_ids"), meta.get("finish_reason")
    if not isinstance(ids, list):
        raise ValueError("output_ids is no list")
    usage = TokenUsage(
        _count(meta, "prompt_tokens"),
        _count(meta, "completion_tokens"),
        _count(meta, "cached_tokens"),
    )
    return Chunk(cast("list[int]", ids), usage, None if finish is None else as_object(finish))


def _count(meta: dict[str, object], name: str) -> int:
    count = meta.get(name)
    if not isinstance(count, int):
        raise ValueError(f"{name} is no number")
    return count
