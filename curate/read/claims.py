"""Reads the answer that a reply claims, in the forms that models use.

    \\boxed{4}                                                  the last box. No other form counts then
    Answer: B    **Answer:** 4    The final answer is $4$.     the last statement
    <answer>4</answer>    #### 4    ### Answer (a line), 4
    **B**    $x = 4$    The sum is **4**.    18 cm    (B)       the last line

A reply that ends in an open or empty box, or in a statement without an answer, claims nothing. The
time is linear in the length of the reply.
"""

from __future__ import annotations

import re

from sprint_agent.protocol.boxes import last_box

_BARE_BOX = re.compile(r"\\boxed\s{1,3}([^\s{}$\\]{1,40})")
_STATEMENT = re.compile(
    r"\b(?:answers?|(?:correct|right|best)\s(?:choice|option))\b"
    r"(?:\s(?:to|for|of)\s[^\n.:?]{1,80}?(?=\s(?:is|are)\b))?"
    r"(?:\*\*|__|\s){0,3}"
    r"(?::|=|(?:is|are|equals|(?:would|should|must)\sbe)\b(?!\s{1,3}(?:not|wrong|incorrect)\b)"
    r"\s{0,3}:?)"
    r"|<answer>"
    r"|^[ ]{0,3}####(?=[^#\n]{0,80}\s{0,20}\Z)"
    r"|^[ ]{0,3}(?:[#*_]{1,6}[ ]?){0,3}(?:(?:final|correct)\s)?answer[ ]?[#*_:]{0,6}[ ]{0,3}$",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE_END = re.compile(
    r"(?<!\.)\.(?!\.)(?=\s|\Z)|</answer>|<\||(?:,?\s)because\s|,\s(?:since|as|which|so)\s"
)
_MATH = (("$$", "$$"), ("\\[", "\\]"), ("$", "$"), ("\\(", "\\)"))
_CONNECTIVE = re.compile(
    r"(?:and|so|thus|hence|then|therefore|finally|in conclusion|in total)[,:]?\s", re.IGNORECASE
)
_SAID = re.compile(r"(?:\b(?:is|are|equals)|=)\s([^A-Za-z\n=]{0,40}\d[^A-Za-z\n=]{0,40})\Z")
_BEFORE_MATH = re.compile(
    r"(?:\b(?:is|are|be|equals|get|obtain|have)|[=:])\s{0,3}\Z", re.IGNORECASE
)
_SPECIAL_LINE = re.compile(r"<\|[^|\n]{1,40}\|>|`{3}|</\w{1,20}>")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_OPTION = re.compile(r"(?:(?:option|choice)\s)?\(?[A-J]\)?", re.IGNORECASE)
_QUANTITY = re.compile(
    r"[-+−]?\s?[$€£]?\d[\d.,]{0,60}\s?(?:%|°|[A-Za-z]{1,20}(?:/[A-Za-z]{1,10})?[²³]?)?"
)
_MARKS = "*_`: \t\r\n"
_LONGEST_LINE = 1000
"""Characters. A longer last line is prose."""


def claim(reply: str) -> str:
    """Returns the answer that a reply claims, as it is written, or "" if it claims none."""
    box = last_box(reply)
    if box is not None:
        return box.content if box.closed else ""
    if bare := _last(_BARE_BOX, reply):
        return bare[1]
    if statement := _last(_STATEMENT, reply):
        return _stated(reply, statement.end())
    return _in_last_line(reply)


def marked(solution: str) -> str:
    """Returns the answer that a solution marks with `\\boxed{…}` or `####`, or "" if it marks none."""
    box = last_box(solution)
    if box is not None and box.closed and box.content:
        return box.content
    _, mark, end = solution.rpartition("####")
    return end.strip() if mark and len(end) <= _LONGEST_LINE and "\n" not in end.strip() else ""


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for match in pattern.finditer(text):
        found = match
    return found


def _stated(text: str, start: int) -> str:
    """Returns the answer in the rest of the line, or in the next line that is not blank."""
    while start < len(text) and text[start] in _MARKS:
        start += 1
    for opening, closing in _MATH[:2]:
        if text.startswith(opening, start):
            end = text.find(closing, start + len(opening))
            return text[start + len(opening) : end].strip() if end >= 0 else ""
    line = text[start:].partition("\n")[0] if start else text
    end = _SENTENCE_END.search(line)
    return _clean(line[: end.start()] if end else line)


def _clean(statement: str) -> str:
    """Removes the marks of Markdown around and inside a statement, and a full stop after it."""
    bare = statement.replace("**", "").strip(_MARKS)
    return bare if bare.endswith("...") else bare.rstrip(".").strip(_MARKS)


def _in_last_line(text: str) -> str:
    line, start = _last_line(text)
    if not line or len(line) > _LONGEST_LINE or line.startswith(("- ", "* ")):
        return ""
    if connective := _CONNECTIVE.match(line):
        line, start = line[connective.end() :], start + connective.end()
    bare = line.rstrip(". \t")
    if bare.endswith("**") and (opened := bare.rfind("**", 0, -2)) >= 0:
        return _clean(bare[opened:])
    for opening, closing in _MATH:
        if bare.endswith(closing):
            end = start + len(bare) - len(closing)
            opened = text.rfind(opening, 0, end)
            before = text[max(0, opened - 40) : opened] if opened >= 0 else ""
            alone = opened <= start or not before.rpartition("\n")[2].strip()
            return (
                text[opened + len(opening) : end].strip()
                if opened >= 0 and (alone or _BEFORE_MATH.search(before))
                else ""
            )
    formula = not _WORD.search(bare) and any(map(str.isalnum, bare))
    shaped = _OPTION.fullmatch(bare) or _QUANTITY.fullmatch(bare)
    if formula or shaped:
        return _clean(bare)
    said = _SAID.search(bare[-100:])
    return _clean(said[1]) if said else ""


def _last_line(text: str) -> tuple[str, int]:
    """Returns the last line that contains an answer or a text, and its start."""
    end = len(text)
    while end > 0:
        start = text.rfind("\n", 0, end) + 1
        line = text[start:end] if end - start <= _LONGEST_LINE else text[start : start + 2000]
        if line.strip() and not _SPECIAL_LINE.fullmatch(line.strip()):
            return line.strip(), start + len(line) - len(line.lstrip())
        end = start - 1
    return "", 0
