"""A file system of a program's own: what it may read, read-only, and a folder in memory.

Needs a mount namespace. Everything is gone when the last process in it has ended.
"""

import ctypes
import os
import struct

from .kernel import call, checked, libc

_NOSUID, _NODEV, _BIND, _RECURSIVE, _SLAVE = 0x2, 0x4, 0x1000, 0x4000, 0x80000
_DETACH = 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTRIBUTE_RDONLY, _ATTRIBUTE_NOSUID = 0x1, 0x2
FOLDER = "/program"
"""The program's folder in its own file system."""
_LIMITS = "size=64m,nr_inodes=8k,mode=0755"
"""What the program's folder holds: bytes, and files and folders."""


def enter(root: str, readable: list[str], program: str) -> bool:
    """Makes `root` the root of this process, with `readable` and the file `program` in FOLDER.

    `program` is a name in the current folder.
    Returns False if the kernel refuses it. Then the file system is as it was.
    """
    try:
        _mount(None, "/", None, _RECURSIVE | _SLAVE)
        _mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, _LIMITS)
    except OSError:
        return False
    try:
        os.mkdir(root + FOLDER, 0o700)
        _copy(program, root + FOLDER)
        for path in readable:
            _bind(os.path.realpath(path), root + path)
        os.chdir(root)
        # The new root over the old one, which is below it then and is taken away.
        call("pivot_root", ctypes.c_char_p(b"."), ctypes.c_char_p(b"."))
    except OSError:
        checked(libc.umount2(os.fsencode(root), _DETACH))
        os.chdir(root)
        return False
    checked(libc.umount2(b".", _DETACH))
    os.chdir(FOLDER)
    return True


def _copy(file: str, folder: str) -> None:
    with open(file, "rb") as source, open(os.path.join(folder, file), "wb") as target:
        target.write(source.read())


def _bind(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    _mount(source, target, None, _BIND | _RECURSIVE)
    # All that is mounted below it too. Without this call (Linux 5.12) it would take one per mount.
    attributes = struct.pack("=QQQQ", _ATTRIBUTE_RDONLY | _ATTRIBUTE_NOSUID, 0, 0, 0)
    path, value = ctypes.c_char_p(os.fsencode(target)), ctypes.c_char_p(attributes)
    call("mount_setattr", _AT_FDCWD, path, _AT_RECURSIVE, value, len(attributes))


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str | None = None
) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    data = None if options is None else options.encode()
    checked(libc.mount(*texts, ctypes.c_ulong(flags), data))
