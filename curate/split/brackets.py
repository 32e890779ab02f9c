"""Finds formulas in brackets that no other delimiter marks, such as `((a + ... + b) * 2)`.

Brackets around prose are not found: their sentences may be split.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

from curate.split.spans import Span

_LONGEST = 2000
"""The most characters of a formula."""
_TOKEN = re.compile(r"(?P<open>[(\[{])|(?P<close>[)\]}])|\n[^\S\n]*(?=\n)")
_WORD = re.compile(r"(?<![\\\w])[^\W\d_]{2,}(?!\w)")
_FUNCTIONS = re.compile(
    r"(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?|log|lg|ln|exp|sqrt|abs|max|min|sup|inf|lim|gcd|lcm|mod|det|deg"
    r"|dim|ker|floor|ceil|sgn|pi|d[xyztuv]",
    re.IGNORECASE,
)
"""The words of formulas. Any other word makes a text in brackets prose."""
_SIGN = re.compile(r"[-+*/^=<>|\d,−×·÷±√∞∑∏∫≤≥≠≈∈∪∩]|\\[A-Za-z]")


def with_brackets(text: str, spans: Sequence[Span]) -> list[Span]:
    """Returns the spans, and those of formulas in brackets. None of them contains another."""
    words = [m.start() for m in _WORD.finditer(text) if not _FUNCTIONS.fullmatch(m[0])]
    signs = [m.start() for m in _SIGN.finditer(text)]

    def is_formula(start: int, end: int) -> bool:
        has_sign = bisect_left(signs, start) < bisect_left(signs, end)
        return has_sign and bisect_left(words, start) == bisect_left(words, end)

    outer: list[Span] = []
    for start, end in _pairs(text, spans):
        if end - start <= _LONGEST and is_formula(start, end):
            while outer and outer[-1].start >= start:
                outer.pop()
            outer.append(Span(start, end, "brackets"))
    return _outermost([*spans, *outer])


def _pairs(text: str, spans: Sequence[Span]) -> list[tuple[int, int]]:
    """Returns where brackets open and close, in the order in which they close.

    Half-open intervals have brackets of two kinds, so any kind closes any other.
    """
    found: list[tuple[int, int]] = []
    opened: list[int] = []
    remaining = iter(spans)
    span = next(remaining, None)
    for token in _TOKEN.finditer(text):
        while span is not None and span.end <= token.start():
            if span.kind == "fence":
                opened.clear()
            span = next(remaining, None)
        if span is not None and span.start <= token.start():
            continue
        if token["open"]:
            opened.append(token.start())
        elif not token["close"]:
            opened.clear()
        elif opened:
            found.append((opened.pop(), token.end()))
    return found


def _outermost(spans: list[Span]) -> list[Span]:
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return kept
