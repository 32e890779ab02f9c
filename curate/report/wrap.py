"""Text in boxes: how wide it will be in a font that the page does not know, and where it is broken.

Widths are those of DejaVu Sans or a little more; of the fonts that browsers fall back on it is the
widest, so that what fits here fits everywhere.
"""

from __future__ import annotations

import unicodedata

_NARROW = frozenset("ijlI.,:;'|! ()[]{}ft/\\r\"-`")
_SMALL = frozenset("ckrsvxyz")
_WIDE = frozenset("mwMWQ%@—…&+=<>≤≥≈×÷→~#")


def width(text: str) -> float:
    """The width of a text, in units of the font's size."""
    return sum(_width(character) for character in text)


def lines(text: str, room: float, most: int) -> tuple[str, ...]:
    """A text broken into at most `most` lines of `room`; the last one ends in … if it was cut."""
    found: list[str] = []
    rest = " ".join(text.split())
    while rest and len(found) < most:
        last = len(found) == most - 1
        line = _line(rest, room, cut=last)
        rest = rest[len(line) :].lstrip()
        found.append(line.rstrip() if not (last and rest) else f"{line.rstrip()}…")
    return tuple(found)


def _line(text: str, room: float, *, cut: bool) -> str:
    """As much of a text as fits, up to a blank if there is one; with `cut`, with room for a … behind."""
    if width(text) <= room:
        return text
    room -= _width("…") if cut else 0.0
    taken, end = 0.0, 0
    while end < len(text) and taken + _width(text[end]) <= room:
        taken += _width(text[end])
        end += 1
    blank = text.rfind(" ", 0, end + 1)
    # A last line is cut where it is full: half a word says more than a gap.
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
