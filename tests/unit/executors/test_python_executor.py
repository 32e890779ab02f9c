"""The Python executor: what a program can and cannot do, and that nothing of it remains."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from sprint_agent import ExecutorError, PromptError, PythonExecutor
from sprint_agent.executors.python.sandbox import paths
from tests.script import a_task, executed

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="the executor is for POSIX"),
]


async def run(program: str, executor: PythonExecutor = PythonExecutor()) -> str:
    return await executor.execute(a_task(program))


class TestPrograms:
    async def test_the_printed_text_is_returned(self) -> None:
        program = "import sys, math\nprint(math.factorial(20), 'é')\nprint('!', file=sys.stderr)"
        assert await run(program) == "2432902008176640000 é\n!\n"

    async def test_a_code_fence_is_removed(self) -> None:
        assert await run("```python\nprint(6 * 7)\n```") == "42\n"

    async def test_a_program_that_prints_nothing_is_reported(self) -> None:
        assert await run("x = 1") == "The program printed nothing."

    async def test_a_program_that_fails_is_reported_with_its_output(self) -> None:
        with pytest.raises(PromptError, match=r"status 1; it printed: so far\n(?s:.*)1 / 0"):
            await run("print('so far')\n1 / 0")
        with pytest.raises(PromptError, match="status 3"):
            await run("import sys\nsys.exit(3)")
        with pytest.raises(PromptError, match="signal 11"):
            await run("import ctypes\nctypes.string_at(0)")

    async def test_several_programs_run_in_parallel(self) -> None:
        made = PythonExecutor()
        tasks = [("python", f"print({n})") for n in range(3)]
        executions = await executed(made, tasks=tasks)
        assert [e.text for e in executions] == ["0\n", "1\n", "2\n"]


BUSY = "while True: pass"


class TestLimits:
    @pytest.mark.parametrize("bound", ["seconds", "memory", "output"])
    def test_bounds_must_be_positive(self, bound: str) -> None:
        with pytest.raises(ValueError, match=bound):
            PythonExecutor(**{bound: 0})  # type: ignore

    async def test_time_is_bounded(self) -> None:
        with pytest.raises(PromptError, match=r"longer than 2 s; it printed: begun"):
            await run(f"print('begun')\n{BUSY}", PythonExecutor(seconds=2))

    @pytest.mark.skipif("sys.platform != 'linux'", reason="not enforced elsewhere")
    async def test_memory_is_bounded(self) -> None:
        with pytest.raises(PromptError, match="MemoryError"):
            await run("x = bytearray(400_000_000)", PythonExecutor(memory=256 * 1024 * 1024))
        assert await run("x = bytearray(400_000_000)") == "The program printed nothing."

    async def test_output_is_bounded(self) -> None:
        text = await run("print('x' * 1_000_000)", PythonExecutor(output=100))
        assert text == "x" * 100 + "\n[999901 more left out]"

    async def test_the_size_of_files_is_bounded(self) -> None:
        with pytest.raises(PromptError, match="ended with status"):
            await run("while True: print('x' * 100_000)")


class TestIsolation:
    async def test_there_is_no_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("API_KEY", "secret")
        monkeypatch.setenv("PYTHONSTARTUP", "x")
        text = await run("import os\nprint(sorted(set(os.environ) - {'LC_CTYPE'}))")
        assert text == "['HOME', 'TMPDIR']\n"

    async def test_there_are_no_packages_and_no_input(self) -> None:
        with pytest.raises(PromptError, match="No module named 'anyio'"):
            await run("import anyio")
        with pytest.raises(PromptError, match="EOFError"):
            await run("input()")

    async def test_its_folder_is_private_and_deleted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = (
            "import os, tempfile\nos.makedirs('a/b')\nopen('a/b/c', 'w').write('x')\n"
            "for d in (os.getcwd(), tempfile.gettempdir(), os.environ['HOME']):"
            "\n    print(os.path.realpath(d))"
        )
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        folders = set((await run(program)).split())
        assert len(folders) == 1
        assert not os.listdir(tmp_path)

    async def test_no_file_of_ours_is_inherited(self) -> None:
        read, write = os.pipe()
        os.set_inheritable(write, True)
        program = f"import os\ntry:\n    os.fstat({write})\nexcept OSError:\n    print('none')"
        assert await run(program) == "none\n"
        os.close(read)
        os.close(write)

    async def test_windows_is_not_supported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sprint_agent.executors.python.executor._POSIX", False)
        with pytest.raises(ExecutorError, match="Linux or macOS"):
            await run("print(1)")


class TestWhatWorks:
    """What programs of the standard library do, at each level of confinement."""

    @pytest.fixture(params=[(), ("mount",), ("namespaces",), ("landlock", "seccomp", "namespaces")])
    def level(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sprint_agent.executors.python.executor._WITHOUT", request.param)

    @pytest.mark.usefixtures("level")
    @pytest.mark.parametrize(
        "program",
        [
            "import asyncio\nasyncio.run(asyncio.sleep(0))",
            "import sqlite3\nsqlite3.connect('a.db').execute('create table t (x)')",
            "import tempfile\nwith tempfile.NamedTemporaryFile() as f:\n    f.write(b'x')",
            "import shutil\nopen('a', 'w').write('x')\nshutil.copyfile('a', 'b')\nshutil.move('b', 'c')",
            "import os\nos.makedirs('a/b')\nos.rename('a/b', 'c')\nopen('c/d', 'w')",
            "import zipfile\nwith zipfile.ZipFile('a.zip', 'w') as z:\n    z.writestr('a', 'x')\n"
            "zipfile.ZipFile('a.zip').extractall('to')",
            "import decimal, fractions, hashlib, json, random, statistics, uuid\nuuid.uuid4()",
            "import ssl, ctypes, multiprocessing, concurrent.futures, subprocess, unittest, logging",
            "import datetime, zoneinfo, time\ntime.localtime()\ndatetime.datetime.now()",
            "import mmap\nmmap.mmap(-1, 4096)[0] = 1",
            "import os\nos.cpu_count(), os.getloadavg, os.urandom(4), os.getcwd(), os.uname()",
            "import signal, time\nsignal.signal(signal.SIGALRM, lambda *a: None)\nsignal.alarm(1)\n"
            "signal.pause()",
            "open('/dev/null', 'w').write('x')\nopen('/dev/urandom', 'rb').read(1)",
            "import select\nselect.epoll().poll(0)\nselect.poll().poll(0)\nselect.select([], [], [], 0)",
            "import glob, os\nassert glob.glob('*') == ['main.py']\nassert os.listdir() == ['main.py']",
            "import os, fcntl\nf = open('a', 'w')\nfcntl.flock(f, fcntl.LOCK_EX)\nf.truncate(0)\n"
            "os.fsync(f.fileno())",
        ],
    )
    async def test_a_program(self, program: str) -> None:
        assert await run(f"{program}\nprint('done')") == "done\n"

    async def test_a_change_of_modes_works_in_its_own_file_system(self) -> None:
        if "mount" not in PythonExecutor.confinement().namespaces:
            pytest.skip("there is none here")
        program = (
            "import os, shutil\nos.chmod('main.py', 0o600)\nshutil.copy('main.py', 'a')\nprint(1)"
        )
        assert await run(program) == "1\n"

    @pytest.mark.parametrize(
        "program",
        [
            "import os\nos.fork()",
            "import subprocess\nsubprocess.run(['true'])",
            "import threading\nthreading.Thread(target=print).start()",
        ],
    )
    @pytest.mark.skipif("not __import__('sprint_agent').PythonExecutor.confinement().seccomp")
    async def test_it_has_one_thread(self, program: str) -> None:
        with pytest.raises(PromptError, match=r"not permitted|can't start new thread|No such file"):
            await run(program)


class TestStart:
    async def test_the_interpreter_may_be_a_link(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        link = tmp_path / "python"
        link.symlink_to(paths.interpreter())
        monkeypatch.setattr(sys, "executable", str(link))
        assert await run("print(1)") == "1\n"

    async def test_it_says_why_a_program_cannot_be_started(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "sprint_agent.executors.python.executor._START", "raise SystemExit('no sandbox here')"
        )
        with pytest.raises(
            ExecutorError, match="could not be started; it printed: no sandbox here"
        ):
            await run("print(1)")
