"""Tokens outside of brackets."""

from __future__ import annotations

from curate.grade.mathematics.lexer import tokens
from curate.grade.mathematics.splitting import closes, group, has, separators, split


def test_splitting_respects_brackets() -> None:
    parts = split(tokens("(1,2],\\{3,4\\},5"), (",",))
    assert [len(part) for part in parts] == [5, 5, 1]
    assert separators(tokens("a<b\\le c"), ("<", "\\le")) == ["<", "\\le"]
    assert not has(tokens("(a=b)"), "=")


def test_groups() -> None:
    assert len(group(tokens("(x)")) or ()) == 1
    assert group(tokens("(x)(y)")) is None
    assert group(tokens("\\lfloor x \\rfloor")) is None
    assert closes(tokens("f(x)"), 1)
    assert not closes(tokens("f(x)y"), 1)
