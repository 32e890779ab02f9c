"""The temporary folder of a program, and its removal whatever the program left in it."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import stat
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

_REMOVAL_SECONDS = 2.0
"""How long an execution waits for the removal. Then a thread finishes it."""
_OPEN_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


@asynccontextmanager
async def temporary_folder() -> AsyncGenerator[Path]:
    """Creates a folder that only this user can enter, and removes it at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="sprint-"))
    try:
        yield folder
    finally:
        # With its own limiter: waiting for one of the shared threads could not be cancelled.
        with anyio.move_on_after(_REMOVAL_SECONDS, shield=True):
            await anyio.to_thread.run_sync(
                partial(remove, folder), limiter=anyio.CapacityLimiter(1), abandon_on_cancel=True
            )


def remove(folder: Path) -> None:
    """Removes a folder that a program has filled, as far as the system lets us.

    However deep it is, neither the stack nor the open files grow: folders inside of folders are
    moved up first. Links are removed and not followed.
    """
    with contextlib.suppress(OSError):
        opened = _open(str(folder), None)
        try:
            _empty(opened)
        finally:
            os.close(opened)
        folder.rmdir()


def _empty(root: int) -> None:
    # Names that the program cannot have used.
    unused = (
        f"{token}-{number}" for token in [secrets.token_hex(8)] for number in itertools.count()
    )
    while names := os.listdir(root):
        if not sum(_removed(root, name, unused) for name in names):
            return


def _removed(root: int, name: str, unused: Iterator[str]) -> bool:
    """Removes an entry of `root`, and returns if it worked. What it contains may be moved up."""
    if _unlinked(name, root):
        return True
    with contextlib.suppress(OSError):
        inner = _open(name, root)
        try:
            for child in os.listdir(inner):
                if not _unlinked(child, inner):
                    _move_up(child, inner, root, unused)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=root)
        return True
    return False


def _unlinked(name: str, folder: int) -> bool:
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=folder)
        return True
    return False


def _move_up(name: str, folder: int, root: int, unused: Iterator[str]) -> None:
    # To be moved, a folder must be writable: its ".." changes.
    os.close(_open(name, folder))
    os.rename(name, next(unused), src_dir_fd=folder, dst_dir_fd=root)


def _open(name: str, parent: int | None) -> int:
    """Opens a folder, after giving ourselves the right to."""
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) != 0o700:
        os.chmod(name, 0o700, dir_fd=parent)
    return os.open(name, _OPEN_FOLDER, dir_fd=parent)
