"""Splits tokens at the level outside all brackets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from curate.grade.mathematics.lexer import Token

Tokens = Sequence[Token]

_OPENING = frozenset(("(", "[", "{", "\\{", "\\langle", "\\lfloor", "\\lceil"))
_CLOSING = frozenset((")", "]", "}", "\\}", "\\rangle", "\\rfloor", "\\rceil"))
_AROUND = _OPENING - {"\\lfloor", "\\lceil"}


def outside(tokens: Tokens) -> Iterator[int]:
    """Yields the places of the tokens that are in no brackets."""
    depth = 0
    for k, token in enumerate(tokens):
        text = token.text
        bracket = token.kind in ("symbol", "command")
        if bracket and (text in _OPENING or text.startswith("\\begin")):
            depth += 1
        elif bracket and (text in _CLOSING or text.startswith("\\end")):
            depth -= 1
        elif depth == 0:
            yield k


def places(tokens: Tokens, texts: Sequence[str]) -> list[int]:
    """Returns where these symbols, commands or words are, outside all brackets."""
    return [k for k in outside(tokens) if tokens[k].kind != "name" and tokens[k].text in texts]


def has(tokens: Tokens, *texts: str) -> bool:
    """Returns whether one of these symbols, commands or words is outside all brackets."""
    return bool(places(tokens, texts))


def split(tokens: Tokens, texts: Sequence[str]) -> list[Tokens]:
    """Returns the parts between these symbols, commands or words."""
    ends = [*places(tokens, texts), len(tokens)]
    starts = [0, *(end + 1 for end in ends)]
    return [tokens[start:end] for start, end in zip(starts, ends, strict=False)]


def separators(tokens: Tokens, texts: Sequence[str]) -> list[str]:
    """Returns the symbols, commands or words at which `split` splits."""
    return [tokens[k].text for k in places(tokens, texts)]


def closes(tokens: Tokens, opening: int) -> bool:
    """Returns whether the bracket at this place is closed by the last token."""
    inside = tokens[opening:]
    return len(inside) > 1 and not list(outside(inside)) and _depth_stays(inside)


def group(tokens: Tokens) -> Tokens | None:
    """Returns what is inside, if one pair of brackets is around all tokens."""
    if tokens and tokens[0].kind != "word" and tokens[0].text in _AROUND and closes(tokens, 0):
        return tokens[1:-1]
    return None


def _depth_stays(tokens: Tokens) -> bool:
    """Whether the first bracket is closed by the last token and not before."""
    depth = 0
    for k, token in enumerate(tokens):
        if token.kind in ("symbol", "command"):
            depth += 1 if token.text in _OPENING else -1 if token.text in _CLOSING else 0
        if depth == 0:
            return k == len(tokens) - 1
    return False
