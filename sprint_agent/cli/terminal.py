"""Text from elsewhere on a terminal: control characters are shown and not obeyed, and nothing is lost.

A model or a tool may write sequences that clear the screen, set the clipboard or reverse the direction
of the text. And a terminal may have an encoding that lacks characters of an answer.
"""

from __future__ import annotations

import sys

_DIRECTIONS = "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_CONTROLS = [chr(code) for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"]
_SHOWN = str.maketrans(
    {c: c.encode("unicode_escape").decode() for c in (*_CONTROLS, *_DIRECTIONS, "\ufeff")}
)


def visible(text: object) -> str:
    """Returns a text in which control characters are written as escapes, such as `\\x1b`.

    Tabs and line breaks stay.
    """
    return str(text).replace("\r\n", "\n").translate(_SHOWN)


def replace_unencodable() -> None:
    """Makes the standard output write `?` for each character that its encoding lacks."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)  # a test may replace the stream
    if reconfigure is not None:
        reconfigure(errors="replace")
