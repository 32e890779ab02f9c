"""What an execution of the Countdown model says that it found."""

from __future__ import annotations

import re

_CLAIM = re.compile(r"\\boxed\{(.+)\}$", re.MULTILINE)


def claim(execution: str) -> str | None:
    """The expression in the `\\boxed{…}` of an execution; None where it found none."""
    found = _CLAIM.search(execution)
    return found.group(1).strip() if found else None
