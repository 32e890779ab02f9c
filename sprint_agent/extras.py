"""How to install the package's optional dependencies. Imports nothing, so every room can use it."""

from __future__ import annotations


def install_hint(extra: str) -> str:
    """Returns the command that installs `extra` (several are separated by commas).

    The text ends an error message, as in "the engine needs torch: " + install_hint("local"). It names
    a checkout because the distribution, `sprint-reasoning`, is not on the package registry yet, and
    because `sprint-agent` on the registry is another project.
    """
    return f'pip install ".[{extra}]" from a checkout'
