"""Waits for what nothing reports, such as the end of another process."""

from __future__ import annotations

from collections.abc import Callable

import anyio


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Returns when the condition holds. Fails after `seconds`."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)
