"""The filter of system calls, run by an interpreter of its instructions."""

from __future__ import annotations

import errno
import struct

import pytest

from sprint_agent.executors.python.sandbox import seccomp, syscalls

ALLOW, KILL = 0x7FFF0000, 0x80000000
REFUSED, MISSING = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
ARCHITECTURES = (0xC000003E, 0xC00000B7)
PID = 4321


def verdict(
    column: int,
    number: int,
    *arguments: int,
    attributes: bool = False,
    architecture: int | None = None,
) -> int:
    """Returns what the filter decides about a call, as the kernel would run it."""
    program = seccomp.filter_of(column, PID, attributes)
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    arch = ARCHITECTURES[column] if architecture is None else architecture
    data = struct.pack("<IIQ6Q", number, arch, 0, *padded)
    accumulator = position = 0
    while True:
        operation, if_true, if_false, operand = program[position]
        assert 0 <= if_true < 256
        assert 0 <= if_false < 256
        position += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif operation == 0x54:
            accumulator &= operand
        elif operation == 0x05:
            position += operand
        elif operation == 0x06:
            return operand
        else:
            holds = {
                0x15: accumulator == operand,
                0x25: accumulator > operand,
                0x35: accumulator >= operand,
            }[operation]
            position += if_true if holds else if_false


@pytest.fixture(params=[0, 1], ids=["x86_64", "aarch64"])
def column(request: pytest.FixtureRequest) -> int:
    return request.param


def test_every_call_of_the_table_is_decided_by_its_own_rule(column: int) -> None:
    with_conditions = syscalls.conditions(PID)
    for name, number in syscalls.numbers(column).items():
        free = name not in with_conditions and name not in syscalls.ATTRIBUTES
        if free:
            assert verdict(column, number) == ALLOW, name


def test_attributes_are_an_option(column: int) -> None:
    numbers = syscalls.numbers(column)
    for name in syscalls.ATTRIBUTES & numbers.keys():
        assert verdict(column, numbers[name]) == REFUSED
        assert verdict(column, numbers[name], attributes=True) == ALLOW


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("kill", (PID, 9), ALLOW),
        ("kill", (1, 9), REFUSED),
        ("kill", (0, 9), REFUSED),
        ("kill", (2**32 - 1, 9), REFUSED),
        ("tgkill", (PID, PID, 9), ALLOW),
        ("tgkill", (1, PID, 9), REFUSED),
        ("prlimit64", (0, 7), ALLOW),
        ("prlimit64", (PID, 7), ALLOW),
        ("prlimit64", (1, 7), REFUSED),
        ("fcntl", (3, 2), ALLOW),
        ("fcntl", (3, 1032), ALLOW),
        ("fcntl", (3, 8), REFUSED),  # F_SETOWN
        ("fcntl", (3, 10), REFUSED),  # F_SETSIG
        ("fcntl", (3, 1024), REFUSED),  # F_SETLEASE
        ("ioctl", (0, 0x5401), ALLOW),
        ("ioctl", (0, 0x5412), REFUSED),  # TIOCSTI
        ("ioctl", (0, 0x8901), REFUSED),  # FIOSETOWN
        ("prctl", (15,), ALLOW),
        ("prctl", (1,), REFUSED),  # PR_SET_PDEATHSIG
        ("socketpair", (1, 1 | 0o2000000), ALLOW),
        ("socketpair", (1, 2), REFUSED),  # datagrams
        ("socketpair", (2, 1), REFUSED),
        ("openat", (0, 0, 0), ALLOW),
        ("openat", (0, 0, 0o1101), ALLOW),  # O_WRONLY | O_CREAT | O_TRUNC
        ("openat", (0, 0, 0o1002), ALLOW),
        ("openat", (0, 0, 0o1000), REFUSED),  # O_RDONLY | O_TRUNC
        ("openat", (0, 0, 0o2001000), REFUSED),
    ],
)
def test_conditions(column: int, name: str, arguments: tuple[int, ...], expected: int) -> None:
    assert verdict(column, syscalls.numbers(column)[name], *arguments) == expected


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((56, 220), REFUSED),  # clone
        ((435, 435), MISSING),  # clone3
        ((41, 198), REFUSED),  # socket
        ((42, 203), REFUSED),  # connect
        ((101, 117), REFUSED),  # ptrace
        ((425, 425), REFUSED),  # io_uring_setup
        ((76, 45), REFUSED),  # truncate
        ((272, 97), REFUSED),  # unshare
        ((165, 40), REFUSED),  # mount
        ((321, 280), REFUSED),  # bpf
        ((319, 279), REFUSED),  # memfd_create
        ((437, 437), REFUSED),  # openat2
        ((453, 453), MISSING),
        ((10_000, 10_000), MISSING),
    ],
)
def test_what_is_not_in_the_table(column: int, numbers: tuple[int, int], expected: int) -> None:
    assert verdict(column, numbers[column]) == expected


def test_another_numbering_ends_the_program(column: int) -> None:
    assert verdict(column, 0x40000000 | 1) == KILL
    assert verdict(column, 1, architecture=0x40000003) == KILL  # i386
    assert verdict(column, 1, architecture=ARCHITECTURES[1 - column]) == KILL
