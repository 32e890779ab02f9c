"""The character sets in which a response is read."""

from __future__ import annotations

_CHARSETS = {
    "utf-8": "utf8 unicode-1-1-utf-8",
    "utf-8-sig": "",
    "utf-16": "",
    "utf-16-le": "utf-16le",
    "utf-16-be": "utf-16be",
    "utf-32": "",
    "ascii": "us-ascii ansi_x3.4-1968",
    "latin-1": "iso-8859-1 iso8859-1 latin1 l1",
    **{f"iso8859-{n}": f"iso-8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)},
    **{f"cp{n}": f"windows-{n}" for n in (874, *range(1250, 1259))},
    "koi8-r": "koi8",
    "koi8-u": "",
    "gb18030": "",
    "gbk": "gb2312 gb-2312 x-gbk",
    "big5": "big5-hkscs x-x-big5",
    "shift_jis": "shift-jis sjis x-sjis windows-31j ms932",
    "euc_jp": "euc-jp x-euc-jp",
    "iso2022_jp": "iso-2022-jp",
    "euc_kr": "euc-kr ks_c_5601-1987 ksc5601",
    "mac-roman": "macintosh",
}
"""Codecs of Python for text, and the other names that servers have for them."""
_BY_NAME = {name: codec for codec, names in _CHARSETS.items() for name in (codec, *names.split())}


def charset_of(name: str | None) -> str:
    """Returns the codec for a charset that a server names, and UTF-8 for all that are not known.

    Python has codecs that are no charsets. Some take very long (`punycode`), unpack, or run code.
    """
    return _BY_NAME.get((name or "").strip(" \t\"'").lower(), "utf-8")
