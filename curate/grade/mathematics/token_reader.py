"""Reads tokens one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from curate.grade.mathematics.characters import Unreadable
from curate.grade.mathematics.lexer import Token


class TokenReader:
    """What the parsers have in common."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        """The place of the next token."""

    def peek(self, ahead: int = 0) -> Token | None:
        """Returns a token that was not read yet, or None at the end."""
        at = self.at + ahead
        return self.tokens[at] if at < len(self.tokens) else None

    def sees(self, *texts: str, ahead: int = 0) -> bool:
        """Returns whether the next token is one of these symbols or commands."""
        token = self.peek(ahead)
        return token is not None and token.kind in ("symbol", "command") and token.text in texts

    def take(self, *texts: str) -> str | None:
        """Reads the next token if it is one of these symbols or commands."""
        if not self.sees(*texts):
            return None
        self.at += 1
        return self.tokens[self.at - 1].text

    def expect(self, text: str) -> None:
        """Reads this symbol or command.

        Raises:
            Unreadable: the next token is another.
        """
        if not self.take(text):
            raise Unreadable(f"expected {text}, not {self.shown()}")

    def shown(self) -> str:
        """Returns the next token as messages show it."""
        token = self.peek()
        return repr(token.text[:40]) if token else "the end"
