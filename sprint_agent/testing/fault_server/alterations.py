"""Changes in the events and bodies of an answer that a fault asks for. Pure."""

from __future__ import annotations

from typing import Any, cast

from sprint_agent.testing.fault_server.faults import (
    EarlyFinish,
    Fault,
    FinishedAs,
    Miscounted,
    Parts,
)

Json = dict[str, Any]


def altered(content: Json, fault: Fault | None) -> Json:
    """Returns an event or a body as the fault makes it."""
    match fault:
        case EarlyFinish(reason=reason):
            return _with_finish(content, reason, only_last=False)
        case FinishedAs(reason=reason):
            return _with_finish(content, reason, only_last=True)
        case Miscounted():
            return _with_usage(content, fault)
        case Parts():
            return _with_parts(content)
        case _:
            return content


def _with_finish(content: Json, reason: str, *, only_last: bool) -> Json:
    for choice in _choices(content):
        if choice.get("finish_reason") is not None or not only_last:
            choice["finish_reason"] = reason
    meta: Json | None = content.get("meta_info")
    if meta is not None and (meta.get("finish_reason") is not None or not only_last):
        known: Json = meta.get("finish_reason") or {"matched": None}
        meta["finish_reason"] = known | {"type": reason}
    return content


def _with_usage(content: Json, fault: Miscounted) -> Json:
    meta: Json | None = content.get("meta_info")
    usage: Json | None = content.get("usage")
    counts = {"prompt_tokens": fault.prompt, "completion_tokens": fault.completion}
    if meta is not None:
        _replace(meta, counts | {"cached_tokens": fault.cached})
    if usage is not None:
        usage.pop("total_tokens", None)
        _replace(usage, counts)
        _replace(usage.setdefault("prompt_tokens_details", {}), {"cached_tokens": fault.cached})
    return content


def _replace(counts: Json, wrong: dict[str, float | None]) -> None:
    for name, count in wrong.items():
        if count is None:
            counts.pop(name, None)
        else:
            counts[name] = count


def _with_parts(content: Json) -> Json:
    for choice in _choices(content):
        message: Json = choice.get("delta") or choice.get("message") or {}
        if message.get("content"):
            thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
            message["content"] = [thought, {"type": "text", "text": message["content"]}]
    return content


def _choices(content: Json) -> list[Json]:
    return cast("list[Json]", content.get("choices") or [])
