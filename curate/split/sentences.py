"""A chain of thought in sentences, without losing a character: `"".join(sentences(text)) == text`.

Our own, for the libraries that lose no character (sentencex) tear formulas apart and know no lines, and
the others lose some (syntok), need a model (wtpsplit) or are kept up no more (pysbd, blingfire).

Where it is in doubt it does not cut. A sentence ends
- behind `.`, `!`, `?` or an ellipsis, and the quotes and brackets that close there, before a blank and
  what a sentence can begin with (no small letter); abbreviations, initials and the markers of list items
  (`1.`, `(a)`, `Step 2.`) end none; `。` and its like end one without a blank;
- at a blank line;
- at a line break, where either line is a heading, a list item, a row of a table or a fence, where an
  equation ends and another begins, or where the next line begins with a capital letter (or in a script
  that has none) and the line before it does not end in a comma, an operator or a word such as "the".
  A reasoning model writes a thought a line; prose that was wrapped goes on with a small letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from curate.split.spans import Span, spans

_MARK = re.compile(r"[.!?…。！？｡؟۔।॥։።។။]+|\n")
_WIDE = frozenset("。！？｡؟۔।॥։።။")
"""Marks that end a sentence without a blank behind them."""
_CLOSING = re.compile(r"[\"'”’»)\]}*_」』）】》〉〕｝]*")
_BLANKS = re.compile(r"\s*")
_WORD = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]+\Z")
_NEXT_WORD = re.compile(r"[^\W\d_]+")

_NEVER_LAST = re.compile(
    r"e\.g|i\.e|eg|ie|vs|cf|approx|ca|resp|viz|al|dr|mrs?|ms|prof|st|figs?|eqs?|eqn|sec|ch|thm|def|lem|"
    r"prop|cor|ex|refs?|vol|pp|nos|incl|excl|esp",
    re.IGNORECASE,
)
"""Abbreviations that something always follows."""
_BEFORE_NUMBERS = frozenset(("no", "p", "n", "art"))
_BEGINNER = re.compile(
    r"a|after|again|also|alternatively|an|and|any|applying|assume|at|because|both|but|by|case|check|"
    r"compute|consider|each|finally|first|for|from|given|hence|hmm|how|however|if|in|indeed|instead|is|"
    r"it|its|let|likewise|maybe|moreover|next|no|not|note|now|of|oh|ok|okay|on|once|one|or|otherwise|"
    r"perhaps|similarly|since|so|step|still|substituting|suppose|that|the|their|then|there|therefore|"
    r"these|they|this|those|thus|to|two|using|wait|we|what|when|where|which|while|with|yes|you",
    re.IGNORECASE,
)
"""Words that begin a sentence behind `U.S.` or `point B.`, where another capital would go on with it."""

_HANGING = re.compile(
    r"(?:[,;(\[{=+/×·<>≤≥≈-]|\s\*|\b(?:a|an|and|as|at|by|for|from|if|in|is|let|of|on|or|than|that|the|thus|"
    r"to|when|where|which|with))\s*\Z",
    re.IGNORECASE,
)
"""How a line ends that goes on in the next one."""
_ITEM = re.compile(
    r"[ \t>]*(?:[-*+•‣◦–—]\s+|[#*_]*(?:\(?(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,5})[.)]|"
    r"(?:Step|Case|Part|Method|Option|Claim|Problem|Question)\s+[\w.]{1,4}[.:)])[*_]*(?:\s|\Z))"
)
_BLOCK = re.compile(
    r"[ \t]*(?:#{1,6}\s|\||(?:`{3}|~{3})|(?:-{3,}|\*{3,}|_{3,}|={3,})[ \t]*(?:\n|\Z))"
)
_RELATION = re.compile(r"[=≈≠≤≥<>→⇒]|\\(?:approx|neq?|leq?|geq?|equiv|implies|to|Rightarrow)\b")
_EQUATION = re.compile(r"[^\n=≈≠≤≥<>→⇒]{0,60}(?:[=≈≠≤≥<>→⇒]|\\(?:approx|equiv|leq?|geq?)\b)")
_LONG_WORD = re.compile(r"(?<!\\)\b[^\W\d_]{4}")
_INLINE_ITEM = re.compile(r"[:;]\s+\d{1,2}\Z")
_GOES_ON = frozenset("=+/≤≥≈≠&^,;:")
"""What no sentence begins with."""
_SEEN = 200
"""Characters of a line that are looked at, from either end."""


def sentences(text: str) -> tuple[str, ...]:
    """The sentences of `text`, each with the blanks behind it; joined they are `text` again.

    No piece is blank, unless `text` is; the blanks that `text` begins with stand in its first piece.
    Formulas and code stay whole, a fenced block is a piece of its own. Takes time in proportion to
    the text.
    """
    at = 0
    pieces: list[str] = []
    for cut in _cuts(text):
        pieces.append(text[at:cut])
        at = cut
    return (*pieces, text[at:]) if at < len(text) else tuple(pieces)


def numbered(pieces: Sequence[str]) -> str:
    """Sentences as they are shown to a model, `[1] …` on lines of their own, from 1."""
    return "\n".join(f"[{number}] {piece.strip()}" for number, piece in enumerate(pieces, 1))


@dataclass(frozen=True, slots=True)
class _Mark:
    """What may end a sentence, up to `end`; `closed` is behind the quotes and brackets there."""

    text: str
    end: int
    closed: int
    before: Span | None = None


def _cuts(text: str) -> Iterator[int]:
    """Where a piece ends and another begins."""
    start = line = _blanks(text, 0)
    for mark in _marks(text):
        if mark.end <= start:
            continue
        after = _blanks(text, mark.closed)
        if after == len(text):
            return
        breaks = text.count("\n", mark.end - (mark.text == "\n"), after)
        if mark.text == "\n":
            ends = breaks > 1 or _line_ends(text, line, mark, after)
        else:
            ends = breaks > 1 or _ends(text, start, mark, after, breaks > 0)
        if ends:
            yield after
            start = after
        if breaks:
            line = after


def _marks(text: str) -> Iterator[_Mark]:
    protected = iter(spans(text))
    span = next(protected, None)
    last: Span | None = None
    for found in _MARK.finditer(text):
        while span is not None and span.end <= found.start():
            yield from _inner_mark(text, span)
            last, span = span, next(protected, None)
        if span is None or found.end() <= span.start:
            closed = found.end() if found[0] == "\n" else _closing(text, found.end())
            yield _Mark(found[0], found.end(), closed, last)
    if span is not None:
        yield from _inner_mark(text, span)


def _inner_mark(text: str, span: Span) -> Iterator[_Mark]:
    """The full stop that a formula ends in: `$x = 1.$`."""
    inner = text[max(span.start, span.end - 40) : span.end].rstrip("$)]\\ \n")
    if span.kind in ("inline", "display") and inner.endswith((".", "?")):
        yield _Mark("?", span.end, span.end)


def _ends(text: str, start: int, mark: _Mark, after: int, at_break: bool) -> bool:
    """Whether a mark ends the sentence that began at `start`; what follows stands at `after`."""
    if mark.text[-1] in _WIDE:
        return True
    if after == mark.closed:
        return False
    if at_break and _begins_block(text, after):
        return True
    follows = text[after]
    if follows in _GOES_ON or (not at_break and _is_marker(text, start, mark.end)):
        return False
    if "…" in mark.text or mark.text.endswith(".."):
        return not follows.islower() and not text.startswith(("I ", "I'"), after)
    if mark.text == "." and _abbreviates(text, mark.end - 1, after):
        return False
    if follows.islower():
        return at_break
    return mark.text != "!" or follows.isalpha() or not _is_factorial(text, mark.end - 1)


def _is_marker(text: str, start: int, end: int) -> bool:
    """Whether nothing but a list item's marker stands before `end`."""
    if _INLINE_ITEM.search(text[max(start, end - 8) : end - 1]):
        return True
    return end - start < 40 and _ITEM.fullmatch(text[start:end]) is not None


def _is_factorial(text: str, at: int) -> bool:
    before = text[at - 1 : at]
    return before.isdecimal() or before in (")", "n", "k", "m")


def _abbreviates(text: str, stop: int, after: int) -> bool:
    """Whether the full stop at `stop` belongs to the word before it."""
    found = _WORD.search(text[max(0, stop - 24) : stop])
    if found is None:
        return False
    word = found[0]
    if _NEVER_LAST.fullmatch(word):
        return True
    if word.lower() in _BEFORE_NUMBERS:
        return text[after].isdecimal()
    if "." in word or (len(word) == 1 and word.isupper()):
        # `U.S. Army` and `J. Smith`, but not `U.S. Then` nor `point B. Then`.
        following = _NEXT_WORD.match(text, after, after + 40)
        return following is not None and not _BEGINNER.fullmatch(following[0])
    return False


def _line_ends(text: str, line: int, mark: _Mark, after: int) -> bool:
    """Whether a line break ends the sentence; the next line begins at `after`."""
    end = mark.end - 1
    if _begins_block(text, after) or _BLOCK.match(text, line):
        return True
    if mark.before is not None and mark.before.kind == "fence" and mark.before.end == end:
        return True
    tail = text[max(line, end - _SEEN) : end].rstrip()
    if _HANGING.search(tail):
        return False
    follows = text[after]
    if follows.isdecimal():
        return bool(_RELATION.search(tail)) or _ITEM.match(text, line, end) is not None
    if follows.islower() or not follows.isalnum():
        return _goes_on_anew(text, line, end, after)
    return True


def _begins_block(text: str, at: int) -> bool:
    return _BLOCK.match(text, at) is not None or _ITEM.match(text, at, at + 40) is not None


def _goes_on_anew(text: str, line: int, end: int, after: int) -> bool:
    """Whether a line that begins with a small letter or a sign stands for itself."""
    follows = text[after]
    opened = text[after : after + 4].lstrip("\"'“‘«(*_「『（")
    if opened[:1].isupper() and not follows.isalnum() and follows not in "$\\":
        return True
    if _ITEM.match(text, line, end):
        # A list item that was wrapped is indented.
        return text[after - 1] == "\n" and follows.islower()
    tail = text[max(line, end - _SEEN) : end]
    head = _EQUATION.match(text, after, after + _SEEN)
    if head is None or follows in "=<>≈≤≥≠+*/×·&" or not _RELATION.search(tail):
        return False
    return not _LONG_WORD.search(head[0])


def _blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def _closing(text: str, at: int) -> int:
    found = _CLOSING.match(text, at)
    return found.end() if found else at
