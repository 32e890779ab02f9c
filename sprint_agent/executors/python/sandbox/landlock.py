"""Landlock: which files a process and its children may use, for good. Linux 5.13 or newer.

It works without privileges, and for the superuser too. See the kernel's userspace-api/landlock.
"""

import ctypes
import os
import struct

from .kernel import PR_SET_NO_NEW_PRIVS, call, prctl

_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_SOCK, _MAKE_BLOCK = 1 << 6, 1 << 9, 1 << 11
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_ALL_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All rights on files that a version and those after it know."""
_TCP = 0b11
_SCOPES = 0b11
"""No abstract Unix sockets and no signals, except within the program."""


def version() -> int:
    """Returns the version of Landlock in this kernel, or 0 if there is none."""
    try:
        return call("landlock_create_ruleset", None, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def restrict(readable: list[str], writable: str, folder: str) -> int:
    """Restricts this process for good. Returns the version of Landlock, or 0 if there is none.

    It may read and execute what is under `readable`, also write to the file `writable`, and do
    anything in `folder` except create devices and sockets, or execute. It has no TCP from version 4
    on.

    Raises:
        OSError: the kernel has Landlock, but refuses a rule.
    """
    known = version()
    if known == 0:
        return 0
    rights = _ALL_RIGHTS[max(v for v in _ALL_RIGHTS if v <= known)]
    attributes = struct.pack("=Q", rights)
    if known >= 4:
        attributes += struct.pack("=Q", _TCP)
    if known >= 6:
        attributes += struct.pack("=Q", _SCOPES)
    rules = call("landlock_create_ruleset", ctypes.c_char_p(attributes), len(attributes), 0)
    try:
        for path in readable:
            _allow(rules, path, rights & (_EXECUTE | _READ_FILE | _READ_DIR))
        _allow(rules, writable, rights & (_READ_FILE | _WRITE_FILE))
        _allow(rules, folder, rights & ~(_EXECUTE | _MAKE_CHAR | _MAKE_SOCK | _MAKE_BLOCK))
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        call("landlock_restrict_self", rules, 0)
    finally:
        os.close(rules)
    return known


def _allow(rules: int, path: str, rights: int) -> None:
    opened = os.open(path, os.O_PATH)
    try:
        if not os.path.isdir(path):
            rights &= _FILE_RIGHTS
        rule = struct.pack("=Qi", rights, opened)
        call("landlock_add_rule", rules, _RULE_PATH_BENEATH, ctypes.c_char_p(rule), 0)
    finally:
        os.close(opened)
