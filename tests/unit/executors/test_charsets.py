"""The character sets of responses."""

from __future__ import annotations

import codecs

import pytest

from sprint_agent.executors import charsets
from sprint_agent.executors.charsets import charset_of


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        (None, "utf-8"),
        ("", "utf-8"),
        ("UTF8", "utf-8"),
        (" 'Windows-1252' ", "cp1252"),
        ("ISO-8859-15", "iso8859-15"),
        ("GB2312", "gbk"),
        ("shift_jis", "shift_jis"),
    ],
)
def test_names_of_servers(name: str | None, codec: str) -> None:
    assert charset_of(name) == codec


@pytest.mark.parametrize(
    "name",
    [
        *("punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"),
        *("zip", "zlib", "bz2", "base64", "hex", "rot13", "uu", "quopri", "utf_7", "utf-7", "hz"),
    ],
)
def test_what_is_no_charset_is_utf_8(name: str) -> None:
    assert charset_of(name) == "utf-8"


def test_all_are_codecs_of_text() -> None:
    for codec in charsets._CHARSETS:
        assert codecs.lookup(codec)._is_text_encoding
        assert "x".encode(codec).decode(codec) == "x"
