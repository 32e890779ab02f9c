"""Addresses of engines as they are shown in messages. Pure."""

from __future__ import annotations


def public_url(url: str) -> str:
    """Returns an address without the secrets in it, for messages."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    _, at, host = rest.rpartition("@")
    if at:
        rest = f"***@{host}"
    address, query, _ = rest.partition("?")
    return f"{scheme}{separator}{address}{'?***' if query else ''}"
