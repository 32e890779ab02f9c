"""Finds fields in a record by their paths, and reads their values as text.

Paths are dotted: `meta.problem` is a field within a field, `turns.0` the first item of a list, and
`messages.assistant` the message of that role in a conversation of one question and one reply.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeGuard, cast

MISSING = object()
"""What a path leads to if the record has no such field."""

_ROLES = {
    "user": frozenset(("user", "human", "question", "prompter")),
    "assistant": frozenset(("assistant", "gpt", "model", "bot", "chatgpt", "ai")),
}
_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "thought", "think_content")
"""The fields of a message, or of a part of one, that contain what was thought before the reply."""


def at(record: object, path: str) -> Any:
    """Returns what is at a path, MISSING if there is nothing."""
    for step in path.split("."):
        if isinstance(record, str) and step in _ROLES:
            # A column of text may contain a conversation as JSON.
            record = _parsed_list(record)
        if isinstance(record, Mapping):
            record = cast("Mapping[str, object]", record).get(step, MISSING)
        elif is_list(record) and step.isdecimal():
            record = entry(record, int(step))
        elif is_list(record) and step in _ROLES:
            record = _message(record, step)
        else:
            return MISSING
    return record


def entry(value: Any, position: int | None) -> Any:
    """Returns an item of a list, MISSING if it is too short. Any other value belongs to all items."""
    if position is None or not is_list(value):
        return value
    return value[position] if position < len(value) else MISSING


def is_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Returns whether a value is a list, and not a text."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def text(value: object) -> str:
    """Returns a value as text, "" if it has no text.

    Numbers are written as JSON writes them. The texts in a list, such as the parts of an answer, are
    separated by commas, also if the list is written as JSON.
    """
    if isinstance(value, str):
        inner = _parsed_list(value) if value.lstrip().startswith('["') else value
        return value if isinstance(inner, str) else _joined(inner) or value
    if isinstance(value, Mapping):
        # A message by itself.
        fields = cast("Mapping[str, Any]", value)
        return text(_content(fields)) if "role" in fields or "from" in fields else ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if is_list(value):
        return _joined(value)
    if isinstance(value, Decimal):
        plain = f"{value:f}"
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    if isinstance(value, int | float) and not isinstance(value, bool):
        return json.dumps(value)
    return str(value) if isinstance(value, bool) else ""


def _joined(values: Sequence[Any]) -> str:
    parts = ["" if is_list(value) else text(value) for value in values]
    if not all(parts):
        return ""
    return parts[0] if len(set(parts)) == 1 else ", ".join(parts)


def _message(turns: Sequence[Any], role: str) -> object:
    """Returns the text of the only turn of a role, MISSING if the conversation has several of them.

    What was thought is in thinking tags, also if the conversation has it in a separate field.
    """
    if len(turns) == 1 and is_list(turns[0]):
        turns = turns[0]
    texts: list[object] = []
    for turn in turns:
        if isinstance(turn, Mapping):
            fields = cast("Mapping[str, Any]", turn)
            if str(fields.get("role", fields.get("from"))).lower() in _ROLES[role]:
                texts.append(_content(fields))
    return texts[0] if len(texts) == 1 else MISSING


def _content(turn: Mapping[str, Any]) -> object:
    content: Any = turn.get("content", turn.get("value", turn.get("text")))
    thoughts = [text(turn.get(name)) for name in _THOUGHTS]
    if is_list(content):
        # OpenAI's and Anthropic's messages may consist of parts.
        parts = [p if isinstance(p, Mapping) else {"text": p} for p in content]
        thoughts += [text(part.get(name)) for part in parts for name in _THOUGHTS]
        content = "".join(text(part.get("text")) for part in parts)
    thought = next(filter(str.strip, thoughts), "")
    return f"<think>\n{thought}\n</think>\n{text(content)}" if thought else content


def _parsed_list(value: str) -> Sequence[Any] | str:
    """Returns the list that a text contains in JSON, or the text if it contains none."""
    try:
        parsed: object = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return parsed if is_list(parsed) else value
