"""Splits a chain of thought into sentences, without losing a character.

`"".join(sentences(text)) == text` for every text. No library does this well: the one that loses no
character (sentencex) splits formulas and ignores lines. The others lose characters (syntok), need a
model (wtpsplit) or are no longer maintained (pysbd, blingfire).

When in doubt, the text is not split. A sentence ends
- after `.`, `!`, `?` or an ellipsis and the closing quotes and brackets there, if white space follows
  and then something that can begin a sentence (not a lower-case letter). Abbreviations, initials and
  the markers of list items (`1.`, `(a)`, `Step 2.`) do not end one. `。` and similar marks end one
  without white space.
- at a blank line.
- at a line break, if either line is a heading, a list item, a table row or a code fence, or if one
  equation ends and another begins. Also if the next line begins with a capital letter (or with any
  letter, in a script without capitals) and the line before does not end in a comma, an operator or a
  word such as "the". Reasoning models write one thought on a line, and wrapped prose continues with a
  lower-case letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from curate.split.brackets import with_brackets
from curate.split.spans import Span, spans

_MARK = re.compile(r"[.!?…。！？｡؟۔।॥։።។။]+|\n")
_WIDE = frozenset("。！？｡؟۔।॥։።။")
"""Marks that end a sentence without white space after them."""
_CLOSING = re.compile(r"[\"'”’»)\]}*_」』）】》〉〕｝]*")
_BLANKS = re.compile(r"\s*")
_WORD = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]+\Z")
_NEXT_WORD = re.compile(r"[^\W\d_]+")

_NEVER_LAST = re.compile(
    r"e\.g|i\.e|eg|ie|vs|cf|approx|ca|resp|viz|al|dr|mrs?|ms|prof|st|figs?|eqs?|eqn|sec|ch|thm|def|lem|"
    r"prop|cor|ex|refs?|vol|pp|nos|incl|excl|esp",
    re.IGNORECASE,
)
"""Abbreviations that never end a sentence."""
_BEFORE_NUMBERS = frozenset(("no", "p", "n", "art"))
_BEGINNER = re.compile(
    r"a|after|again|also|alternatively|an|and|any|applying|assume|at|because|both|but|by|case|check|"
    r"compute|consider|each|finally|first|for|from|given|hence|hmm|how|however|if|in|indeed|instead|is|"
    r"it|its|let|likewise|maybe|moreover|next|no|not|note|now|of|oh|ok|okay|on|once|one|or|otherwise|"
    r"perhaps|similarly|since|so|step|still|substituting|suppose|that|the|their|then|there|therefore|"
    r"these|they|this|those|thus|to|two|using|wait|we|what|when|where|which|while|with|yes|you",
    re.IGNORECASE,
)
"""Words that begin a sentence after `U.S.` or `point B.`. Other capitalized words continue it."""

_HANGING = re.compile(
    r"(?:[,;(\[{=+/×·<>≤≥≈-]|\s\*|\b(?:a|an|and|as|at|by|for|from|if|in|is|let|of|on|or|than|that|the|thus|"
    r"to|when|where|which|with))\s*\Z",
    re.IGNORECASE,
)
"""The end of a line that continues on the next line."""
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
_CONTINUING = frozenset("=+/≤≥≈≠&^,;:")
"""Characters that never begin a sentence."""
_EXAMINED = 200
"""How many characters of a line are examined, from either end."""


def sentences(text: str) -> tuple[str, ...]:
    """Returns the sentences of `text`, each with the white space after it. Joined, they are `text`.

    No piece is blank, unless `text` is. White space at the beginning of `text` belongs to the first
    piece. Formulas and code are never split, and a fenced block is a separate piece. The time is linear
    in the length of the text.
    """
    at = 0
    pieces: list[str] = []
    for cut in _cuts(text):
        pieces.append(text[at:cut])
        at = cut
    return (*pieces, text[at:]) if at < len(text) else tuple(pieces)


def numbered(pieces: Sequence[str]) -> str:
    """Returns sentences as a model reads them: `[1] …`, one on each line, numbered from 1."""
    return "\n".join(f"[{number}] {piece.strip()}" for number, piece in enumerate(pieces, 1))


@dataclass(frozen=True, slots=True)
class _Mark:
    """A mark that may end a sentence."""

    text: str
    end: int
    """The position after the mark."""
    closed: int
    """The position after the closing quotes and brackets that follow the mark."""
    before: Span | None = None
    """The last formula or code before the mark."""


def _cuts(text: str) -> Iterator[int]:
    """Yields the positions where one piece ends and the next begins."""
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
    protected = iter(with_brackets(text, spans(text)))
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
    """Yields the full stop at the end of a formula, as in `$x = 1.$`."""
    inner = text[max(span.start, span.end - 40) : span.end].rstrip("$)]\\ \n")
    if span.kind in ("inline", "display") and inner.endswith((".", "?")):
        yield _Mark("?", span.end, span.end)


def _ends(text: str, start: int, mark: _Mark, after: int, at_break: bool) -> bool:
    """Returns whether a mark ends the sentence that began at `start`. The next text is at `after`."""
    if mark.text[-1] in _WIDE:
        return True
    if after == mark.closed:
        return False
    if at_break and _begins_block(text, after):
        return True
    follows = text[after]
    if follows in _CONTINUING or (not at_break and _is_marker(text, start, mark.end)):
        return False
    if "…" in mark.text or mark.text.endswith(".."):
        return not follows.islower() and not text.startswith(("I ", "I'"), after)
    if mark.text == "." and _abbreviates(text, mark.end - 1, after):
        return False
    if follows.islower():
        return at_break
    return mark.text != "!" or follows.isalpha() or not _is_factorial(text, mark.end - 1)


def _is_marker(text: str, start: int, end: int) -> bool:
    """Returns whether the sentence up to `end` is only the marker of a list item."""
    if _INLINE_ITEM.search(text[max(start, end - 8) : end - 1]):
        return True
    return end - start < 40 and _ITEM.fullmatch(text[start:end]) is not None


def _is_factorial(text: str, at: int) -> bool:
    before = text[at - 1 : at]
    return before.isdecimal() or before in (")", "n", "k", "m")


def _abbreviates(text: str, stop: int, after: int) -> bool:
    """Returns whether the full stop at `stop` belongs to the word before it."""
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
    """Returns whether a line break ends the sentence. The next line begins at `after`."""
    end = mark.end - 1
    if _begins_block(text, after) or _BLOCK.match(text, line):
        return True
    if mark.before is not None and mark.before.kind == "fence" and mark.before.end == end:
        return True
    tail = text[max(line, end - _EXAMINED) : end].rstrip()
    if _HANGING.search(tail):
        return False
    follows = text[after]
    if follows.isdecimal():
        return bool(_RELATION.search(tail)) or _ITEM.match(text, line, end) is not None
    if follows.islower() or not follows.isalnum():
        return _is_own_sentence(text, line, end, after)
    return True


def _begins_block(text: str, at: int) -> bool:
    return _BLOCK.match(text, at) is not None or _ITEM.match(text, at, at + 40) is not None


def _is_own_sentence(text: str, line: int, end: int, after: int) -> bool:
    """Returns whether a line is a new sentence although it begins with no capital letter or digit."""
    follows = text[after]
    opened = text[after : after + 4].lstrip("\"'“‘«(*_「『（")
    if opened[:1].isupper() and not follows.isalnum() and follows not in "$\\":
        return True
    if _ITEM.match(text, line, end):
        # The next line of a wrapped list item is indented.
        return text[after - 1] == "\n" and follows.islower()
    tail = text[max(line, end - _EXAMINED) : end]
    head = _EQUATION.match(text, after, after + _EXAMINED)
    if head is None or follows in "=<>≈≤≥≠+*/×·&" or not _RELATION.search(tail):
        return False
    return not _LONG_WORD.search(head[0])


def _blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def _closing(text: str, at: int) -> int:
    found = _CLOSING.match(text, at)
    return found.end() if found else at
