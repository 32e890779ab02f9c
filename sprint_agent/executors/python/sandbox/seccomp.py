"""seccomp: which system calls a process and its children may make, for good.

The filter is a program of the kernel's classic BPF. See the kernel's userspace-api/seccomp_filter.
"""

import ctypes
import errno
import struct

from . import kernel, syscalls

_SECCOMP_MODE_FILTER = 2
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_ARCHITECTURES = (0xC000003E, 0xC00000B7)
"""The values of seccomp for the machines of `kernel.MACHINES`."""
_OTHER_NUMBERING = 0x40000000
"""The calls of x32 have the architecture of x86_64, and numbers from here on."""

_LOAD, _AND, _JUMP, _RETURN = 0x20, 0x54, 0x05, 0x06
_JUMP_EQUAL, _JUMP_GREATER, _JUMP_AT_LEAST = 0x15, 0x25, 0x35
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""The offsets at which the filter reads the call: `struct seccomp_data`, on a little-endian machine."""

Instruction = tuple[int, int, int, int]
"""An operation, how far to jump if it holds and if it does not, and its operand."""


def restrict(pid: int, *, attributes: bool) -> bool:
    """Filters the calls of this process for good. Returns whether the kernel does it.

    `attributes` says whether it may change modes and times of files.
    """
    column = kernel.machine()
    if column is None:
        return False
    program = b"".join(struct.pack("=HBBI", *i) for i in filter_of(column, pid, attributes))
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions, padding, and their address.
    pointer = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    try:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.prctl(kernel.PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(pointer))
    except OSError:
        return False
    return True


def filter_of(column: int, pid: int, attributes: bool) -> list[Instruction]:
    """Returns the filter for the machine of this column of `kernel.MACHINES`."""
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        *_unless(_JUMP_EQUAL, _ARCHITECTURES[column], _KILL),
        (_LOAD, 0, 0, _NUMBER),
        *_if(_JUMP_AT_LEAST, _OTHER_NUMBERING, _KILL),
    ]
    conditions = syscalls.conditions(pid)
    for name, number in syscalls.numbers(column).items():
        if name in conditions:
            body = _under(conditions[name])
            program += [(_JUMP_EQUAL, 0, len(body), number), *body]
        elif attributes or name not in syscalls.ATTRIBUTES:
            program += _if(_JUMP_EQUAL, number, _ALLOW)
    missing = _ERRNO | errno.ENOSYS
    program += _if(_JUMP_EQUAL, syscalls.CLONE3, missing)
    program += _if(_JUMP_GREATER, syscalls.NEWEST, missing)
    return [*program, (_RETURN, 0, 0, _ERRNO | errno.EPERM)]


def _under(conditions: tuple[syscalls.Condition, ...]) -> list[Instruction]:
    """Returns instructions that allow the call if all conditions hold, and else refuse it."""
    program: list[Instruction] = []
    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    for condition in conditions:
        program += [
            (_LOAD, 0, 0, _ARGUMENTS + 8 * condition.argument),
            (_AND, 0, 0, condition.mask),
        ]
        count = len(condition.values)
        # If the values are allowed, each leads past the refusal. If not, each leads to it, and
        # what is left jumps over it.
        for position, value in enumerate(condition.values):
            program.append((_JUMP_EQUAL, count - position, 0, value))
        program += [refuse] if condition.allowed else [(_JUMP, 0, 0, 1), refuse]
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _if(operation: int, operand: int, result: int) -> list[Instruction]:
    return [(operation, 0, 1, operand), (_RETURN, 0, 0, result)]


def _unless(operation: int, operand: int, result: int) -> list[Instruction]:
    return [(operation, 1, 0, operand), (_RETURN, 0, 0, result)]
