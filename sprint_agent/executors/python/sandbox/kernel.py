"""Calls to the Linux kernel that the standard library does not have."""

import ctypes
import os
import sys

LINUX = sys.platform == "linux"

_NUMBERS = {  # x86_64, aarch64
    "clone": (56, 220),
    "pivot_root": (155, 41),
    "mount_setattr": (442, 442),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
    "capset": (126, 91),
}
MACHINES = ("x86_64", "aarch64")
"""The machines whose system calls this package knows. On others, it has the limits alone."""

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITIES_VERSION = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


def machine() -> int | None:
    """Returns the position of this machine in MACHINES, or None if it is not there."""
    name = os.uname().machine if LINUX else ""
    return MACHINES.index(name) if name in MACHINES and sys.maxsize > 2**32 else None


def call(name: str, *arguments: object) -> int:
    """Makes the system call `name`.

    Raises:
        OSError: the kernel refuses it, or this machine is unknown.
    """
    column = machine()
    if column is None:
        raise OSError(0, f"the system calls of {os.uname().machine} are not known")
    return checked(libc.syscall(_NUMBERS[name][column], *map(_word, arguments)))


def prctl(option: int, *arguments: object) -> None:
    """Makes the system call prctl, with 0 for the arguments that are left out.

    Raises:
        OSError: the kernel refuses it.
    """
    padded = (*arguments, 0, 0, 0, 0)[:4]
    checked(libc.prctl(option, *map(_word, padded)))


def drop_capabilities() -> None:
    """Gives up all privileges, so that not even the superuser gets them back by `exec`.

    Raises:
        OSError: the kernel refuses it.
    """
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            break  # There is no further one, or this process may not: then it has none to lose.
    libc.prctl(PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
    call("capset", ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))


def checked(result: int) -> int:
    """Returns the result of a function of the C library.

    Raises:
        OSError: the result is -1. The C library says why.
    """
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def _word(argument: object) -> object:
    # Without a type, ctypes passes an integer in 32 bits. The kernel reads 64.
    return ctypes.c_ulong(argument) if isinstance(argument, int) else argument
