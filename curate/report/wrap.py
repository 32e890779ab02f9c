"""Breaks text into lines that fit into a box, although the reader's font is not known.

The widths are those of DejaVu Sans, or a little more. It is the widest of the fonts to which browsers
fall back, so a text that fits here fits everywhere.
"""

from __future__ import annotations

import unicodedata

_NARROW = frozenset("ijlI.,:;'|! ()[]{}ft/\\r\"-`")
_SMALL = frozenset("ckrsvxyz")
_WIDE = frozenset("mwMWQ%@—…&+=<>≤≥≈×÷→~#")


def width(text: str) -> float:
    """Returns the width of a text, in units of the font size."""
    return sum(_width(character) for character in text)


def lines(text: str, room: float, most: int) -> tuple[str, ...]:
    """Breaks a text into at most `most` lines of width `room`, in units of the font size.

    White space is collapsed. If the text does not fit, the last line ends in "…".
    """
    found: list[str] = []
    rest = " ".join(text.split())
    while rest and len(found) < most:
        last = len(found) == most - 1
        line = _line(rest, room, cut=last)
        rest = rest[len(line) :].lstrip()
        found.append(line.rstrip() if not (last and rest) else f"{line.rstrip()}…")
    return tuple(found)


def _line(text: str, room: float, *, cut: bool) -> str:
    """Returns as much of a text as fits, up to a space if there is one.

    With `cut`, the line is the last one: it may end within a word, and leaves room for a "…".
    """
    if width(text) <= room:
        return text
    room -= _width("…") if cut else 0.0
    taken, end = 0.0, 0
    while end < len(text) and taken + _width(text[end]) <= room:
        taken += _width(text[end])
        end += 1
    blank = text.rfind(" ", 0, end + 1)
    # The last line is cut when it is full: half a word says more than a gap.
    return text[: blank if blank > 0 and not cut else max(end, 1)]


def _width(character: str) -> float:
    if character in _NARROW:
        return 0.42
    if character in _SMALL:
        return 0.6
    if character in _WIDE:
        return 1.0
    if unicodedata.combining(character) or unicodedata.category(character) == "Cf":
        return 0.0
    if ord(character) > 0x2000 or unicodedata.east_asian_width(character) in "WF":
        return 1.1
    return 0.72 if character.isupper() else 0.64
