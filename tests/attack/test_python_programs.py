"""Hostile programs against the Python executor, at each level of confinement.

A level leaves layers out, as a kernel without them would. `Confinement.gaps` is held in both
directions: what it does not name does not get through, and what it names does.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import logging
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest

from sprint_agent import PromptError, PythonExecutor
from tests.attack import programs
from tests.attack.programs import Target
from tests.poll import until
from tests.script import a_task

_EXECUTOR = "sprint_agent.executors.python.executor"
LEVELS = {
    "everything": (),
    "no mounts": ("mount",),
    "a container": ("namespaces",),
    "no Landlock": ("landlock",),
    "no filter": ("seccomp",),
    "Landlock alone": ("namespaces", "seccomp"),
    "a filter alone": ("namespaces", "landlock"),
    "namespaces alone": ("landlock", "seccomp", "mount"),
    "nothing": ("landlock", "seccomp", "namespaces"),
}
GAPS = {
    "use all files": programs.FILES,
    "change the modes": programs.ATTRIBUTES,
    "send signals": programs.PROCESSES,
    "reach the network": programs.NETWORK,
    "connect to sockets": programs.SOCKETS,
    "leave shared memory": programs.MEMORY,
    "fill the disk": programs.FULL,
    "use any system call": programs.CALLS,
}
"""The attacks for each gap, by the beginning of its text."""

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() != "x86_64",
        reason="the attacks are for Linux on x86_64",
    ),
]


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(f"{_EXECUTOR}._WITHOUT", LEVELS[request.param])
    return request.param


@pytest.fixture
def target(tmp_path: Path) -> Generator[Target]:
    secret = tmp_path / "secret"
    secret.write_text("API_KEY=1")
    with ExitStack() as stack:
        others = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sprint-")))
        (others / "main.py").write_text("print(1)")
        decoy = stack.enter_context(
            subprocess.Popen(["sleep", "600"], env={"API_KEY": "1", "PATH": os.environ["PATH"]})
        )
        stack.callback(decoy.kill)
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        threading.Thread(target=_echo, args=(udp,), daemon=True).start()
        # The path of a socket has 107 bytes at most.
        path = f"{others}/socket"
        abstract = f"sprint-{os.getpid()}-{time.monotonic_ns()}"
        for address in (path, f"\0{abstract}"):
            listening = stack.enter_context(socket.socket(socket.AF_UNIX))
            listening.bind(address)
            listening.listen()
        yield Target(
            str(secret),
            decoy.pid,
            str(others),
            tcp.getsockname()[1],
            udp.getsockname()[1],
            path,
            abstract,
        )


def _echo(udp: socket.socket) -> None:
    while True:
        try:
            data, address = udp.recvfrom(1)
            udp.sendto(data, address)
        except OSError:
            return


async def through(target: Target, attacks: Mapping[str, str]) -> set[str]:
    """Returns the attacks that get through."""
    printed = await PythonExecutor(seconds=60).execute(a_task(target.program(attacks)))
    results = dict(line.split(": ", 1) for line in printed.splitlines() if ": " in line)
    assert results.keys() == attacks.keys(), printed
    return {name for name, result in results.items() if result == "through"}


@pytest.mark.parametrize("gap", GAPS)
async def test_what_gets_through_is_said(level: str, gap: str, target: Target) -> None:
    reached = await through(target, GAPS[gap])
    if gap == "leave shared memory":
        reached = _left_memory()
    said = [text for text in PythonExecutor.confinement().gaps if text.startswith(gap)]
    assert bool(reached) == bool(said), reached


async def test_some_things_never_get_through(level: str, target: Target) -> None:
    assert await through(target, programs.NEVER) == set()


@pytest.mark.parametrize("without", [(), ("namespaces",), ("mount",)])
async def test_it_cannot_become_another_program(
    without: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{_EXECUTOR}._WITHOUT", without)
    if not PythonExecutor.confinement().landlock:
        pytest.skip("there is no Landlock here")
    with pytest.raises(PromptError, match=r"PermissionError|FileNotFoundError"):
        await PythonExecutor().execute(
            a_task("import os; os.execv('/bin/echo', ['echo', 'hello'])")
        )


def test_with_everything_there_are_no_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    confinement = PythonExecutor.confinement()
    if len(confinement.namespaces) < 5 or not confinement.landlock or not confinement.seccomp:
        pytest.skip(f"this machine offers {confinement}")
    assert confinement.gaps == ()


def test_in_a_container_the_disk_alone_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{_EXECUTOR}._WITHOUT", ("namespaces",))
    confinement = PythonExecutor.confinement()
    if not confinement.landlock or not confinement.seccomp:
        pytest.skip(f"this machine offers {confinement}")
    assert confinement.gaps == ("fill the disk of the temporary folder while it runs",)


_MEMORY = itertools.count(512 * 1024 * 1024 + os.getpid() * 4096, 4096)


def _alive(memory: int) -> list[str]:
    """Returns the processes that have this limit of address space, which is unlike any other."""
    found: list[str] = []
    for limits in Path("/proc").glob("[0-9]*/limits"):
        try:
            text = limits.read_text()
        except OSError:
            continue
        if f" {memory} " in text:
            found.append(limits.parent.name)
    return found


@pytest.mark.parametrize("attack", programs.OUTLIVES)
async def test_nothing_outlives_the_limit(level: str, attack: str, target: Target) -> None:
    if level in ("nothing", "Landlock alone") and attack == "many children":
        pytest.skip("a gap: it starts them faster than they can be ended")
    memory = next(_MEMORY)
    program = target.program({attack: programs.OUTLIVES[attack]})
    executor = PythonExecutor(seconds=1, memory=memory)
    try:
        await executor.execute(a_task(program))
    except PromptError as error:
        assert "longer than 1 s" in str(error) or "signal 9" in str(error)  # noqa: PT017
    assert _alive(memory) == []


async def test_nothing_outlives_a_cancellation(level: str, target: Target) -> None:
    memory = next(_MEMORY)
    program = target.program({"a child": programs.OUTLIVES["a child"]}) + "\ntime.sleep(600)"
    async with anyio.create_task_group() as group:
        executor = PythonExecutor(seconds=600, memory=memory)
        group.start_soon(executor.execute, a_task(program))
        await until(lambda: bool(_alive(memory)))
        group.cancel_scope.cancel()
    assert _alive(memory) == []


async def test_nothing_outlives_the_application(level: str, tmp_path: Path) -> None:
    memory = next(_MEMORY)
    application = (
        "import asyncio\n"
        "from sprint_agent.executors.python import executor\n"
        "from tests.script import a_task\n"
        f"executor._WITHOUT = {LEVELS[level]!r}\n"
        f"made = executor.PythonExecutor(seconds=600, memory={memory})\n"
        "asyncio.run(made.execute(a_task('import time; time.sleep(600)')))\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    async with await anyio.open_process(
        [sys.executable, "-c", application], env=environment
    ) as app:
        await until(lambda: bool(_alive(memory)))
        app.kill()
        await until(lambda: not _alive(memory))


async def test_a_program_cannot_silence_the_warning(
    level: str, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    from sprint_agent.executors.python import executor

    executor._warned.clear()
    program = (
        "import os\n"
        "for name in ('.alone', 'confined', '.confined'):\n    open(name, 'w').write('9 True user')\n"
        "for number in range(1, 64):\n"
        "    try:\n        os.write(number, b'confined 9 True user,pid,mount,network,ipc\\n')\n"
        "    except OSError:\n        pass\n"
    )
    with caplog.at_level(logging.WARNING):
        await PythonExecutor().execute(a_task(program))
    gaps = PythonExecutor.confinement().gaps
    assert [record.getMessage().count(gap) for record in caplog.records for gap in gaps] == [
        1
    ] * len(gaps)
    assert len(caplog.records) == bool(gaps)


@pytest.mark.parametrize("without", [(), ("namespaces",)])
@pytest.mark.parametrize(
    "program",
    [
        "for n in range(5000):\n    os.close(os.open(str(n), os.O_CREAT))",
        "for n in range(1200):\n    os.mkdir('d')\n    os.chdir('d')",
        "for n in range(50):\n    os.makedirs(f'{n}/{n}/{n}/{n}')",
        "os.mkdir('a')\nos.symlink('..', 'a/b')\nos.symlink('/usr', 'c')",
    ],
    ids=["many files", "deep", "wide and deep", "links"],
)
async def test_its_folder_is_removed(
    without: tuple[str, ...], program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{_EXECUTOR}._WITHOUT", without)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with contextlib.suppress(PromptError):
        await PythonExecutor(seconds=60).execute(a_task(f"import os\n{program}"))
    # What takes long is finished after the execution.
    await until(lambda: not list(tmp_path.iterdir()))


def _left_memory() -> set[str]:
    """Removes the memory that the attacks left, and returns which did."""
    left: set[str] = set()
    shared = Path("/dev/shm/sprint-attack")
    if shared.exists():
        shared.unlink()
        left.add(str(shared))
    libc = ctypes.CDLL(None)
    for kind, remove in (("shm", libc.shmctl), ("sem", None), ("msg", libc.msgctl)):
        for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]:
            key, identifier = line.split()[:2]
            if int(key) == 0x5917:
                left.add(kind)
                if remove:
                    remove(int(identifier), 0, None)
                else:
                    libc.semctl(int(identifier), 0, 0)
    return left
