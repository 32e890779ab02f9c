"""Prompts in the path of a URL: those that a server might read as another path are refused."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

from sprint_agent.errors import PromptError

_SLASHES = frozenset("/\\\u2044\u2215\u29f5\u29f8\u29f9\ufe68\uff0f\uff3c")
"""Slashes, backslashes, and the characters that some servers read as one."""
_SHOWN_CHARACTERS = 80
_ESCAPE = re.compile(r"%u?[0-9A-Fa-f]{2}")


def check_path_prompt(prompt: str, path: str, placeholder: str) -> None:
    """Checks that a prompt in place of `placeholder` is part of one segment of `path`.

    Encoding does not help here: common servers decode `..%2F` before they resolve a path, some of
    them twice, and some read fullwidth characters as the plain ones.

    Raises:
        PromptError: the prompt contains a slash, a percent-escape or a control character, or the
            segment would be empty or consist of dots.
    """
    shown = repr(prompt[:_SHOWN_CHARACTERS])
    if _ESCAPE.search(prompt) or _ESCAPE.search(unicodedata.normalize("NFKC", prompt)):
        raise PromptError(
            f"the prompt {shown} contains a percent-escape: write the character itself"
        )
    plain = unicodedata.normalize("NFKC", prompt)
    if _SLASHES & set(prompt) or _SLASHES & (set(plain) - {"\u2044"}):
        raise PromptError(f"the prompt {shown} contains a slash: it is one part of a path")
    if any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in prompt):
        raise PromptError(f"the prompt {shown} contains a control character: leave it out")
    for segment in path.split("/"):
        if placeholder in segment:
            name = unquote(segment).replace(placeholder, plain)
            # Parameters after a semicolon, and dots and blanks at the end, are dropped by some.
            if not name.partition(";")[0].strip(". \t\u3002\uff61"):
                raise PromptError(
                    f"the prompt {shown} is empty or a relative path: write more than dots"
                )
