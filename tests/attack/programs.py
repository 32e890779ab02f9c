"""Hostile programs for the Python executor. They print which attacks get through.

An attack raises an error if it is stopped. What it can use: `call` makes a system call by its
number on x86_64, `secret` is a file of the user with a key, `decoy` is the id of a process of the
user with the key in its environment, `others` is the folder of another execution, and `tcp`, `udp`,
`path` and `abstract` are sockets on which somebody listens.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """What an attack aims at."""

    secret: str
    decoy: int
    others: str
    tcp: int
    udp: int
    path: str
    abstract: str

    def program(self, attacks: Mapping[str, str]) -> str:
        """Returns a program that tries attacks, one after another."""
        aims = "\n".join(f"{name} = {value!r}" for name, value in vars(self).items())
        tries = "".join(
            f"def attack():\n{textwrap.indent(attack, '    ')}\ntried({name!r}, attack)\n"
            for name, attack in attacks.items()
        )
        return f"{aims}\n{_BEFORE}\n{tries}"


_BEFORE = """
import ctypes, errno, fcntl, os, resource, signal, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def tried(name, attack):
    try:
        attack()
    except BaseException as error:
        print(f"{name}: held, {type(error).__name__} {error}")
    else:
        print(f"{name}: through")
"""

FILES = {
    "read a secret": "assert 'KEY' in open(secret).read()",
    "write to a file": "open(secret, 'a').write('mine')",
    "empty a file": "os.truncate(secret, 0)",
    "empty a file that is open for reading": "os.open(secret, os.O_RDONLY | os.O_TRUNC)",
    "delete a file": "os.unlink(secret)",
    "rename a file": "os.rename(secret, secret + '.mine')",
    "move a file into the own folder": "os.rename(secret, 'mine')",
    "link a file into the own folder": "os.link(secret, 'mine'); open('mine', 'a').write('x')",
    "go through a symbolic link": "os.symlink(secret, 'mine'); open('mine').read()",
    "create a file": "open(secret + '.mine', 'w')",
    "list a folder": "assert os.listdir(os.path.dirname(secret))",
    "change a program of another execution": "open(others + '/main.py', 'w').write('mine')",
    "change the standard library": "open(os.__file__, 'a')",
    "read the environment of a process": (
        "assert b'KEY' in open(f'/proc/{decoy}/environ', 'rb').read()"
    ),
    "read the environment of its parents": (
        "pid = os.getppid()\nassert pid\nopen(f'/proc/{pid}/environ', 'rb').read()"
    ),
    "read the memory of a process": "open(f'/proc/{decoy}/mem', 'rb')",
}
"""Aims at files of the user, with those that are not files on a disk."""

ATTRIBUTES = {
    "change the mode of a file": "os.chmod(secret, 0)",
    "change the mode of the interpreter": "os.chmod(os.path.realpath(sys.executable), 0o700)",
    "change the times of a file": "os.utime(secret, (1, 1))",
}
"""Aims at what is known about files, which Landlock does not restrict."""

PROCESSES = {
    "stop a process": "os.kill(decoy, signal.SIGSTOP); os.kill(decoy, signal.SIGCONT)",
    "let the kernel send a signal": (
        "a, b = socket.socketpair()\n"
        "fcntl.fcntl(a, 10, signal.SIGCONT)\n"
        "fcntl.fcntl(a, fcntl.F_SETOWN, decoy)\n"
        "fcntl.fcntl(a, fcntl.F_SETFL, os.O_ASYNC)\n"
        "b.send(b'x')"
    ),
    "trace a process": "call(101, 0x4206, decoy, 0, 0)",
    "read the memory of a process by a call": (
        "buffer = ctypes.create_string_buffer(8)\n"
        "own = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)\n"
        "maps = (ctypes.c_size_t * 2)(0x400000, 8)\n"
        "try:\n    call(310, decoy, own, 1, maps, 1, 0)\n"
        "except OSError as error:\n    assert error.errno == errno.EFAULT, error"
    ),
    "take a file of a process": "call(438, call(434, decoy, 0), 0, 0)",
    "slow a process down": "os.setpriority(os.PRIO_PROCESS, decoy, 19)",
    "move a process to another core": "os.sched_setaffinity(decoy, {0})",
    "limit a process": "resource.prlimit(decoy, resource.RLIMIT_NOFILE)",
}
"""Aims at other processes of the user."""

# No parent-death signal, and its own session.
_AWAY = (
    "libc.prctl(1, 0)\ntry:\n    os.setsid()\nexcept OSError:\n    pass\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"
)
OUTLIVES = {
    "itself": _AWAY,
    "a child": f"if os.fork() == 0:\n{textwrap.indent(_AWAY, '    ')}",
    "a grandchild": f"if os.fork() == 0 and os.fork() == 0:\n{textwrap.indent(_AWAY, '    ')}",
    "itself without its waiter": f"os.kill(os.getppid(), 9)\n{_AWAY}",
    "a thread": "import threading\nthreading.Thread(target=time.sleep, args=(600,)).start()",
    "many children": f"while True:\n    if os.fork() == 0:\n{textwrap.indent(_AWAY, '        ')}",
}
"""Aims at being there when the execution has ended."""

NETWORK = {
    "connect": "socket.create_connection(('127.0.0.1', tcp), 5)",
    "send a datagram": (
        "sent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "sent.sendto(b'x', ('127.0.0.1', udp))\n"
        "sent.settimeout(5)\nassert sent.recv(1)"
    ),
    "connect to an abstract socket": ("socket.socket(socket.AF_UNIX).connect('\\0' + abstract)"),
}
"""Aims at the network."""

SOCKETS = {
    "connect to a socket in the file system": "socket.socket(socket.AF_UNIX).connect(path)",
}

MEMORY = {
    "fill /dev/shm": "open('/dev/shm/sprint-attack', 'wb').write(bytes(1024))",
    "leave System V memory": "call(29, 0x5917, 1024, 0o1600)",
    "leave a System V semaphore": "call(64, 0x5917, 1, 0o1600)",
    "leave a message queue": "call(68, 0x5917, 0o1600)",
}
"""Aims at memory that stays."""

CALLS = {
    "create a user namespace": "call(272, 0x10000000)",
    "use io_uring": ("call(425, 4, ctypes.create_string_buffer(120))"),
    "get memory without an address": "call(319, ctypes.c_char_p(b'x'), 0)",
    "keep a key": (
        "call(248, ctypes.c_char_p(b'user'), ctypes.c_char_p(b'sprint'), ctypes.c_char_p(b'x'),"
        " 1, -2)"
    ),
    "watch files": "call(254)",
    "load a program into the kernel": "call(321, 5, ctypes.create_string_buffer(128), 128)",
    "count events of the processor": "call(298, ctypes.create_string_buffer(128), 0, -1, -1, 0)",
    "write all disks": "call(162)",
}
"""Aims at calls of the kernel that no program of the standard library needs."""

FULL = {
    "fill the disk": (
        "for number in range(5):\n"
        "    with open(f'big-{number}', 'wb') as file:\n"
        "        file.write(bytes(15_000_000))"
    ),
    "create many files": (
        "for number in range(8_500):\n    os.close(os.open(f'f{number}', os.O_CREAT))"
    ),
}
"""Aims at the disk of the temporary folder."""

NEVER = {
    "mount": ("assert libc.mount(b'none', b'.', b'tmpfs', ctypes.c_ulong(0), None) == 0"),
    "become the superuser": (
        "os.setuid(0)\nassert libc.mount(b'none', b'.', b'tmpfs', ctypes.c_ulong(0), None) == 0"
    ),
    "raise its limits": (
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)"
    ),
    "have more files": "resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))",
    "have more address space": "bytearray(10**9)",
    "create a device": "os.mknod('disk', 0o60600, os.makedev(254, 0))",
    "write to a file that it was not given": (
        "found = 0\n"
        "for number in range(3, 256):\n"
        "    try:\n        os.write(number, b'confined 9 True user\\n')\n"
        "    except OSError:\n        continue\n"
        "    found = number\n"
        "assert found"
    ),
}
"""Aims that are out of reach with the limits alone."""
