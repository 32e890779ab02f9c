"""Starts a program in a restricted process, waits for it, and ends all that it started.

There are three processes. The *keeper* is the one that PythonExecutor starts. It ends the others
when they are done, late, or no longer wanted. The *waiter* is the first process of a new PID
namespace, if the kernel allows that: when it ends, the kernel ends everything in there. The third
process restricts itself and then becomes the program. The program cannot leave the namespace, and
it does not share a parent-death signal with its waiter. So it ends whatever it does to its own.

Imports are chosen with care here: most of the time that a start takes is spent on them.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sys

from . import kernel, landlock, mounts, paths, seccomp
from .request import CONFINED, ENDED, PROGRAM, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_CLONE_NEWNS, _CLONE_NEWIPC = 0x00020000, 0x08000000
_CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_NAMESPACES = _CLONE_NEWUSER | _CLONE_NEWPID | _CLONE_NEWNS | _CLONE_NEWNET | _CLONE_NEWIPC
_USER = 1000
"""The program's user and group in its own namespace. It is not the superuser, even if you are."""
_FILE_BYTES = 16 * 1024 * 1024
_FILES = 64
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM)


def main() -> NoReturn:
    """Runs a program. Writes to stdout how it is restricted, and later how it ended.

    What the program prints goes to stderr. When this process gets SIGTERM, it ends the program.
    """
    request = Request(sys.argv[1:])
    # Blocked, these signals wait until `sigwait` takes them. Until then, SIGTERM ends this process.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    if kernel.LINUX:
        _end_with_parent()
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != request.parent:
        os._exit(1)
    waiter = _start_waiter(request)
    signal.setitimer(signal.ITIMER_REAL, request.seconds)
    while signal.sigwait(_SIGNALS) == signal.SIGCHLD:
        if os.waitpid(waiter, os.WNOHANG)[0]:
            break
    _end_all(waiter)
    os._exit(0)


def _start_waiter(request: Request) -> int:
    """Starts the waiter, with namespaces if the kernel allows it. Returns its process id."""
    if kernel.machine() is not None and "namespaces" not in request.without:
        # Not `unshare`: only a new process can be the first of a PID namespace, and if the kernel
        # allows the namespaces but not the users in them, this process is not stuck there.
        with contextlib.suppress(OSError):
            return _start_isolated(request)
    go_on, go = os.pipe()
    waiter = os.fork()
    if waiter == 0:
        os.close(go)
        _wait_for_program(request, go_on, isolated=False)
    os.write(go, b"1")
    return waiter


def _start_isolated(request: Request) -> int:
    go_on, go = os.pipe()
    waiter = kernel.call("clone", _NAMESPACES | signal.SIGCHLD, None, None, None, None)
    if waiter == 0:
        os.close(go)
        _wait_for_program(request, go_on, isolated=True)
    try:
        _write(f"/proc/{waiter}/setgroups", "deny")
        _write(f"/proc/{waiter}/uid_map", f"{_USER} {os.geteuid()} 1")
        _write(f"/proc/{waiter}/gid_map", f"{_USER} {os.getegid()} 1")
    except OSError:
        os.kill(waiter, signal.SIGKILL)
        os.waitpid(waiter, 0)
        raise
    os.write(go, b"1")
    return waiter


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _end_with_parent() -> None:
    if kernel.LINUX:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_all(waiter: int) -> None:
    """Ends the waiter and everything that it left, and waits until it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(waiter, signal.SIGKILL)
    while True:
        # Without a PID namespace, orphans become children of this process.
        with contextlib.suppress(OSError), open(f"/proc/self/task/{os.getpid()}/children") as file:
            for child in file.read().split():
                os.kill(int(child), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _wait_for_program(request: Request, go_on: int, *, isolated: bool) -> NoReturn:
    """Is the waiter: starts the program, waits for it, and writes how it ended."""
    try:
        _end_with_parent()
        os.read(go_on, 1)
        poll = select.poll()
        poll.register(go_on, 0)
        if poll.poll(0):  # The keeper ended, perhaps before it could take this process with it.
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        program = os.fork()
        if program == 0:
            _become_program(request, isolated=isolated)
        ended, status = os.waitpid(-1, 0)
        while ended != program:  # The first process of a namespace also gets its orphans.
            ended, status = os.waitpid(-1, 0)
        os.write(1, f"{ENDED} {os.waitstatus_to_exitcode(status)}\n".encode())
    finally:
        os._exit(0)


def _become_program(request: Request, *, isolated: bool) -> NoReturn:
    try:
        _end_with_parent()
        os.setsid()
        # Not inherited by the program, so that no program can write a report.
        report = os.dup(1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        # Found before the restrictions: afterwards, links that lead to it may be out of sight.
        python = paths.interpreter()
        os.write(report, f"{CONFINED} {_restrict(request, isolated=isolated)}\n".encode())
        folder = os.getcwd()
        environment = {"HOME": folder, "TMPDIR": folder}
        os.execve(python, [python, *request.flags, PROGRAM], environment)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    os._exit(1)


def _restrict(request: Request, *, isolated: bool) -> str:
    """Restricts this process. Returns the version of Landlock, if calls are filtered, namespaces."""
    without, readable, folder = request.without, paths.readable(), os.getcwd()
    namespaces = ["user", "pid", "network", "ipc"] if isolated else []
    mounted = isolated and "mount" not in without and mounts.enter(folder, readable, PROGRAM)
    if mounted:
        folder, namespaces = mounts.FOLDER, [*namespaces, "mount"]
    _limit(request.memory, request.seconds)
    version = 0
    if kernel.machine() is not None:
        if "landlock" not in without:
            version = landlock.restrict(readable, paths.WRITABLE, folder)
        kernel.drop_capabilities()
    filtered = "seccomp" not in without and seccomp.restrict(os.getpid(), attributes=mounted)
    return f"{version} {filtered} {','.join(namespaces)}"


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
