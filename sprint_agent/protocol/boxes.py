"""Reads `\\boxed{…}` in the text of a model. The time is linear in the length of the text."""

from __future__ import annotations

import re
from dataclasses import dataclass

_OPENING = re.compile(r"\\f?box(?:ed)?\s?\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
"""Braces, and characters after a backslash: the braces of `\\{` and `\\}` are content."""


@dataclass(frozen=True, slots=True)
class Box:
    """The content of a box."""

    content: str
    """What is between its braces, without the white space around it. May be empty."""
    closed: bool
    """False if the text ends inside the box."""


def last_box(text: str) -> Box | None:
    """Returns the last `\\boxed{…}` or `\\fbox{…}` in `text`, or None if there is none."""
    start = max((opening.end() for opening in _OPENING.finditer(text)), default=None)
    if start is None:
        return None
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return Box(text[start : brace.start()].strip(), closed=True)
    return Box(text[start:].strip(), closed=False)
