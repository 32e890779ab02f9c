"""Restricts the process of a program, before the program runs in it.

PythonExecutor starts this file in the program's folder. It uses the standard library only. Once the
process is restricted, it becomes the program.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys

_CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_PR_SET_PDEATHSIG = 1
_FILE_BYTES = 16 * 1024 * 1024
_FILES = 64


def main(memory: int, seconds: int, isolated_file: str, program: list[str]) -> None:
    """Sets the limits and becomes `program`. `isolated_file` is created if it has namespaces."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        isolated = libc.unshare(_CLONE_NEWUSER | _CLONE_NEWPID | _CLONE_NEWNET) == 0
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if isolated:
            with open(isolated_file, "w"):
                pass
            child = os.fork()
            if child:
                _end_like(child)
            # The first process of its PID namespace: when it ends, all others there end too.
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _limit(memory, seconds)
    os.execv(program[0], program)


def _end_like(child: int) -> None:
    """Waits for the program, then ends with the same status or signal."""
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        _set(resource.RLIMIT_CORE, 0)
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _limit(memory: int, seconds: int) -> None:
    _set(resource.RLIMIT_AS, memory)
    _set(resource.RLIMIT_CPU, seconds)
    _set(resource.RLIMIT_FSIZE, _FILE_BYTES)
    _set(resource.RLIMIT_NOFILE, _FILES)
    _set(resource.RLIMIT_CORE, 0)
    # Neither processes nor threads. This limit does not apply to the superuser.
    _set(resource.RLIMIT_NPROC, 0)


def _set(limit: int, value: int) -> None:
    # Some systems refuse some limits. The others apply all the same.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(limit, (value, value))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
