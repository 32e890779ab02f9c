"""Secrets of a request: what they are, and texts without them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

MASK = "***"
_SHORTEST = 4
"""Shorter secrets are not searched for in texts: they would match by chance."""
_PUBLIC_HEADERS = frozenset(
    {
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "content-length",
        "content-type",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "origin",
        "pragma",
        "referer",
        "te",
        "user-agent",
    }
)
"""Headers whose values are no secrets. Those of all others are taken for some."""
_SECRET_PARAMETER = re.compile(
    r"key|token|secret|auth|pass|pwd|sig|credential|appid", re.IGNORECASE
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"(?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")


def check_headers(headers: Mapping[str, str], owner: str) -> None:
    """Checks that headers can be sent.

    Raises:
        ValueError: a header cannot be sent. The message does not contain its value.
    """
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{owner}: a header has a name that cannot be sent: use letters and -")
        if value[:1].isspace() or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(
                f"{owner}: the value of the header {name} cannot be sent: it may not contain line "
                "breaks, other control characters or characters outside of Latin-1, nor begin or "
                "end with blanks (was a key read from a file with its newline?)"
            )


def public_url(url: str) -> str:
    """Returns the URL without its user, its password, and the values of its query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{MASK}@{host}" if "@" in parts.netloc else host
    query = re.sub(r"=(?!\{prompt\}(?:&|$))[^&]*", f"={MASK}", parts.query)
    return urlunsplit((parts.scheme, netloc, parts.path, query, ""))


def without_user(url: str) -> str:
    """Returns the URL without its user and password. They are sent as a header."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def secrets_of(url: str, headers: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the texts that must not appear anywhere, in all spellings, the longest first."""
    found: set[str] = set()
    for name, value in headers.items():
        if name.lower() not in _PUBLIC_HEADERS:
            # "Bearer abc": the scheme is public, and "abc" is a secret by itself.
            found |= {value, *value.split()[1:]}
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    if at:
        name, _, password = user.partition(":")
        plain = f"{unquote(name)}:{unquote(password)}"
        found |= {user, password or name, base64.b64encode(plain.encode()).decode()}
    for name, value in parse_qsl(parts.query):
        if _SECRET_PARAMETER.search(name) and "{prompt}" not in value:
            found.add(value)
    found |= {unquote(secret) for secret in found}
    found |= {quote(secret, safe="") for secret in found}
    found |= {repr(secret)[1:-1] for secret in found}
    return tuple(sorted((s for s in found if len(s) >= _SHORTEST), key=len, reverse=True))


def masked(text: str, secrets: Iterable[str], *, cut: bool = False) -> str:
    """Returns the text with a mask in place of each secret.

    If the text was `cut`, it may end in the beginning of one.
    """
    for secret in secrets:
        text = text.replace(secret, MASK)
        begun = range(len(secret) - 1, _SHORTEST - 1, -1) if cut else ()
        end = next((n for n in begun if text.endswith(secret[:n])), 0)
        text = text[: len(text) - end] + MASK if end else text
    return text


def reveals(error: BaseException | None, secrets: Iterable[str]) -> bool:
    """Returns whether an error, or one that led to it, contains a secret."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if any(secret in f"{error!r} {error}" for secret in secrets):
            return True
        error = error.__cause__ or error.__context__
    return False
