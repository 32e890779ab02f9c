"""The system calls that a program may make: what Python's standard library needs in one process.

Not among them are those that start a process or a thread, open a socket, send a signal to another
process, trace one, or use shared memory, keys, message queues or io_uring. What is not in this
table is refused, so what a later kernel adds is refused too.
"""

_TABLE = """
read 0 63; write 1 64; open 2 -; close 3 57; stat 4 -; fstat 5 80; lstat 6 -; poll 7 -; lseek 8 62;
mmap 9 222; mprotect 10 226; munmap 11 215; brk 12 214; rt_sigaction 13 134; rt_sigprocmask 14 135;
rt_sigreturn 15 139; ioctl 16 29; pread64 17 67; pwrite64 18 68; readv 19 65; writev 20 66;
access 21 -; pipe 22 -; select 23 -; sched_yield 24 124; mremap 25 216; msync 26 227;
mincore 27 232; madvise 28 233; dup 32 23; dup2 33 -; pause 34 -; nanosleep 35 101;
getitimer 36 102; alarm 37 -; setitimer 38 103; getpid 39 172; sendfile 40 71; sendto 44 206;
recvfrom 45 207; sendmsg 46 211; recvmsg 47 212; shutdown 48 210; getsockname 51 204;
getpeername 52 205; socketpair 53 199; setsockopt 54 208; getsockopt 55 209; execve 59 221;
exit 60 93; wait4 61 260; kill 62 129; uname 63 160; fcntl 72 25; flock 73 32; fsync 74 82;
fdatasync 75 83; ftruncate 77 46; getdents 78 -; getcwd 79 17; chdir 80 49; fchdir 81 50;
rename 82 -; mkdir 83 -; rmdir 84 -; creat 85 -; link 86 -; unlink 87 -; symlink 88 -;
readlink 89 -; chmod 90 -; fchmod 91 52; umask 95 166; gettimeofday 96 169; getrlimit 97 163;
getrusage 98 165; sysinfo 99 179; times 100 153; getuid 102 174; getgid 104 176; geteuid 107 175;
getegid 108 177; getppid 110 173; getpgrp 111 -; getgroups 115 158; getresuid 118 148;
getresgid 120 150; getpgid 121 155; getsid 124 156; rt_sigpending 127 136; rt_sigtimedwait 128 137;
rt_sigsuspend 130 133; sigaltstack 131 132; utime 132 -; statfs 137 43; fstatfs 138 44;
getpriority 140 141; sched_getparam 143 121; sched_getscheduler 145 120;
sched_get_priority_max 146 125; sched_get_priority_min 147 126; prctl 157 167; arch_prctl 158 -;
gettid 186 178; readahead 187 213; getxattr 191 8; lgetxattr 192 9; fgetxattr 193 10;
listxattr 194 11; llistxattr 195 12; flistxattr 196 13; time 201 -; futex 202 98;
sched_getaffinity 204 123; epoll_create 213 -; getdents64 217 61; set_tid_address 218 96;
restart_syscall 219 128; fadvise64 221 223; clock_gettime 228 113; clock_getres 229 114;
clock_nanosleep 230 115; exit_group 231 94; epoll_wait 232 -; epoll_ctl 233 21; tgkill 234 131;
utimes 235 -; waitid 247 95; openat 257 56; mkdirat 258 34; futimesat 261 -; newfstatat 262 79;
unlinkat 263 35; renameat 264 38; linkat 265 37; symlinkat 266 36; readlinkat 267 78;
fchmodat 268 53; faccessat 269 48; pselect6 270 72; ppoll 271 73; set_robust_list 273 99;
utimensat 280 88; epoll_pwait 281 22; timerfd_create 283 85; fallocate 285 47;
timerfd_settime 286 86; timerfd_gettime 287 87; eventfd2 290 19; epoll_create1 291 20; dup3 292 24;
pipe2 293 59; preadv 295 69; pwritev 296 70; prlimit64 302 261; getcpu 309 168; renameat2 316 276;
getrandom 318 278; membarrier 324 283; copy_file_range 326 285; preadv2 327 286; pwritev2 328 287;
statx 332 291; rseq 334 293; close_range 436 436; faccessat2 439 439; epoll_pwait2 441 441;
fchmodat2 452 452
"""
"""A name, and its numbers on x86_64 and on aarch64."""

NEWEST = 452
"""The C library falls back to older calls if one that is newer than this does not exist."""

CLONE3 = 435
"""The C library falls back to clone if this does not exist."""

ATTRIBUTES = frozenset(
    {"chmod", "fchmod", "fchmodat", "fchmodat2", "utime", "utimes", "futimesat", "utimensat"}
)
"""Calls that change files without opening them, which Landlock does not restrict.

They are only allowed if everything but the program's folder is mounted read-only.
"""


class Condition:
    """A condition on one argument of a call: its bits in `mask` are among `values`, or are not."""

    def __init__(
        self,
        argument: int,
        values: tuple[int, ...],
        mask: int = 0xFFFFFFFF,
        *,
        allowed: bool = True,
    ) -> None:
        """`allowed` says whether these values are the allowed ones, or the refused ones."""
        self.argument = argument
        self.values = values
        self.mask = mask
        self.allowed = allowed


_ACCESS_MODE, _TRUNCATE = 0o3, 0o1000

# dup, flags, locks of both kinds, the size of a pipe. Not: leases, and signals to an owner.
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1031, 1032)
# Is it a terminal and how wide; close on exec; non-blocking; how much can be read.
_IOCTL = (0x5401, 0x5413, 0x5450, 0x5451, 0x5421, 0x541B)
# The name of the thread, and the names that the C library gives to memory.
_PRCTL = (15, 16, 0x53564D41)
_UNIX, _STREAM, _SOCKET_TYPE = 1, 1, 0xF


def numbers(column: int) -> dict[str, int]:
    """Returns the numbers of the calls on the machine of this column."""
    entries = (entry.split() for entry in _TABLE.split(";"))
    return {entry[0]: int(entry[1 + column]) for entry in entries if entry[1 + column] != "-"}


def conditions(pid: int) -> dict[str, tuple[Condition, ...]]:
    """Returns the calls that are only allowed with some arguments. `pid` is the program's own."""
    return {
        "open": (_not_truncated(1),),
        "openat": (_not_truncated(2),),
        "fcntl": (Condition(1, _FCNTL),),
        "ioctl": (Condition(1, _IOCTL),),
        "prctl": (Condition(0, _PRCTL),),
        "kill": (Condition(0, (pid,)),),
        "tgkill": (Condition(0, (pid,)),),
        "prlimit64": (Condition(0, (0, pid)),),
        # An event loop wakes itself through a pair. Datagrams could be sent to other sockets.
        "socketpair": (Condition(0, (_UNIX,)), Condition(1, (_STREAM,), _SOCKET_TYPE)),
    }


def _not_truncated(flags: int) -> Condition:
    # Before version 3, Landlock lets a file be truncated that is opened for reading.
    return Condition(flags, (_TRUNCATE,), _ACCESS_MODE | _TRUNCATE, allowed=False)
