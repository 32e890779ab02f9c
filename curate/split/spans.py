"""Finds the formulas and the code in a text, which must not be split.

An opening delimiter without a closing one is ordinary text, and so is everything after it: `$5` opens
nothing. The time is linear in the length of any text, because each kind of closing delimiter is located
once and looked up after that.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

_LONGEST = 10_000
"""The most characters of a formula with blank lines. A longer one counts as not closed."""

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})([^\n]*)(?:\n|\Z)", re.MULTILINE)
# A backslash includes the next character, so that `\\[2pt]` and `\$` open nothing.
_TOKEN = re.compile(
    r"\\(?:begin|end)\{[A-Za-z]{1,20}\*?\}|\\[^\n]|`+|\$\$|\$|\n[^\S\n]*(?=\n)",
)
# An amount of money and the prose after it. `$5 + x$` and `$5 \text{ cm}$` are formulas.
_MONEY = re.compile(
    r"\$\d[\d,]*(?:\.\d+)?(?:[.,;:!?)]*\s+[^\W\d_]{2}|[.;:!?)]+(?:\s|\Z)|\s*\Z)",
)


@dataclass(frozen=True, slots=True)
class Span:
    """Text from `start` up to `end` that must stay in one piece."""

    start: int
    end: int
    kind: Literal["fence", "code", "inline", "display", "brackets"]


def spans(text: str) -> list[Span]:
    """Returns the formulas and the code in `text`, in order. None of them contains another."""
    found: list[Span] = []
    at = 0
    for fence in _fences(text):
        found += _inside(text, at, fence.start)
        found.append(fence)
        at = fence.end
    return [*found, *_inside(text, at, len(text))]


def _fences(text: str) -> Iterable[Span]:
    lines = list(_FENCE.finditer(text))
    # By character: the length from which on no fence has a closing one. It avoids repeated searches.
    unclosed: dict[str, int] = {}
    k = 0
    while k < len(lines):
        mark = lines[k][1]
        closer = None
        if len(mark) < unclosed.get(mark[0], len(text) + 1):
            closer = next((j for j in range(k + 1, len(lines)) if _closes(lines[j], mark)), None)
            if closer is None:
                unclosed[mark[0]] = len(mark)
        if closer is not None:
            yield Span(lines[k].start(), lines[closer].end(2), "fence")
            k = closer
        k += 1


def _closes(line: re.Match[str], mark: str) -> bool:
    return line[1].startswith(mark) and not line[2].strip()


class _Tokens:
    """The delimiters in a part of the text, with an index by kind."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self.text = text
        self.all = list(_TOKEN.finditer(text, start, end))
        self._numbers: defaultdict[str, list[int]] = defaultdict(list)
        for number, token in enumerate(self.all):
            self._numbers[self._kind(token)].append(number)

    def _kind(self, token: re.Match[str]) -> str:
        shown = token[0]
        if shown[0] == "\n":
            return "blank line"
        if shown != "$":
            return shown
        before = self.text[token.start() - 1 : token.start()]
        if self.text[token.end() : token.end() + 1].isdecimal():
            return "$ before a digit"
        return "$ after a blank" if before.isspace() else "$"

    def next(self, kind: str, number: int) -> int:
        """Returns the first token of a kind after token `number`, or the number of tokens if none."""
        numbers = self._numbers[kind]
        at = bisect_left(numbers, number + 1)
        return numbers[at] if at < len(numbers) else len(self.all)


def _inside(text: str, start: int, end: int) -> list[Span]:
    """Returns the spans between two fences."""
    tokens = _Tokens(text, start, end)
    environments = _environments(tokens)
    found: list[Span] = []
    number = 0
    while number < len(tokens.all):
        closer = environments.get(number) or _closer(tokens, number)
        if closer is not None:
            opened, closed = tokens.all[number], tokens.all[closer]
            found.append(Span(opened.start(), closed.end(), _KINDS.get(opened[0][:2], "display")))
            number = closer
        number += 1
    return found


_KINDS: dict[str, Literal["code", "inline", "display"]] = {
    "$": "inline",
    "\\(": "inline",
    "`": "code",
    "``": "code",
}


def _closer(tokens: _Tokens, number: int) -> int | None:
    """Returns the token that closes what token `number` opens, None if that opens nothing."""
    opened = tokens.all[number]
    match opened[0]:
        case "\\(" | "\\[" as mark:
            closer = tokens.next("\\)" if mark == "\\(" else "\\]", number)
            # If it is opened again before it is closed, the first one is ordinary text.
            closer = closer if closer < tokens.next(mark, number) else len(tokens.all)
        case "$":
            closer = _dollar(tokens, number)
        case mark if mark == "$$" or mark[0] == "`":
            closer = tokens.next(mark, number)
        case _:
            return None
    if closer >= len(tokens.all):
        return None
    if opened[0] == "\\[":
        return closer if tokens.all[closer].end() - opened.start() <= _LONGEST else None
    return closer if closer < tokens.next("blank line", number) else None


def _dollar(tokens: _Tokens, number: int) -> int:
    text, at = tokens.text, tokens.all[number].start()
    if _MONEY.match(text, at):
        return len(tokens.all)
    # `$ x $` has blanks inside both delimiters, `$x$` has none.
    spaced = text[at + 1 : at + 2].isspace()
    return tokens.next("$ after a blank" if spaced else "$", number)


def _environments(tokens: _Tokens) -> dict[int, int]:
    """Returns the tokens that open LaTeX environments, with the tokens that close them."""
    pairs: dict[int, int] = {}
    opened: list[tuple[str, int]] = []
    depth: defaultdict[str, int] = defaultdict(int)
    for number, token in enumerate(tokens.all):
        command, _, name = token[0].partition("{")
        if command == "\\begin" and name:
            opened.append((name, number))
            depth[name] += 1
        elif command == "\\end" and depth[name]:
            # An environment that was opened inside and never closed is ordinary text.
            while (last := opened.pop())[0] != name:
                depth[last[0]] -= 1
            depth[name] -= 1
            start = tokens.all[last[1]].start()
            if token.end() - start <= _LONGEST:
                pairs[last[1]] = number
    return pairs
