"""Shared by the tests of the report: lengths in words, and a parser of the page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path


def count(text: str) -> int:
    return len(text.split())


def text_of(path: Path) -> str:
    """Returns the text of the page as a reader sees it, without styles."""
    read = PageReader()
    read.feed(path.read_text(encoding="utf-8"))
    return re.sub(r"\s+", " ", " ".join(read.texts))


class PageReader(HTMLParser):
    """Collects the texts, the names of the elements, and the attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != ["style"]:
            self.texts.append(data)
