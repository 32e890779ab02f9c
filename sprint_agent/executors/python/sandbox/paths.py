"""What a program may read: the interpreter, its standard library and what they are linked with."""

import os
import sys

_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
_STORES = ("/nix/store", "/gnu/store")
_DATA = ("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
WRITABLE = "/dev/null"
"""The only one of these paths that a program may also write to."""


def interpreter() -> str:
    """Returns the file of the interpreter itself, not that of a virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def readable() -> list[str]:
    """Returns the paths that a program may read. None of them is inside another one."""
    own = [os.path.join(sys.base_prefix, name) for name in ("lib", sys.platlibdir)]
    # Not all of the path: this package was put into it, and the program does not need it.
    own += [entry for entry in sys.path if entry.startswith(sys.base_prefix + os.sep)]
    paths = {*own, *_LIBRARIES, *_STORES, *_DATA, *DEVICES, interpreter()}
    kept: list[str] = []
    for path in sorted(path for path in paths if os.path.exists(path)):
        if not kept or not path.startswith(kept[-1] + os.sep):
            kept.append(path)
    return kept
