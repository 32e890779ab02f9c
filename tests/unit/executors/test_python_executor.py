"""The Python executor: what a program can and cannot do, and that nothing of it remains."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import anyio
import pytest

from sprint_agent import ExecutorError, PromptError, PythonExecutor
from sprint_agent.executors.threads import in_thread
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

    async def test_its_folder_is_private_and_deleted(self) -> None:
        program = (
            "import os, tempfile\nos.makedirs('a/b')\nopen('a/b/c', 'w').write('x')\n"
            "os.chmod('a/b', 0)\nfor d in (os.getcwd(), tempfile.gettempdir(), os.environ['HOME']):"
            "\n    print(os.path.realpath(d))"
        )
        folders = set((await run(program)).split())
        assert len(folders) == 1
        assert not os.access(folders.pop(), os.F_OK)

    async def test_no_file_of_ours_is_inherited(self) -> None:
        read, write = os.pipe()
        os.set_inheritable(write, True)
        program = f"import os\ntry:\n    os.fstat({write})\nexcept OSError:\n    print('none')"
        assert await run(program) == "none\n"
        os.close(read)
        os.close(write)

    async def test_there_is_no_network_or_a_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        server = socket.create_server(("127.0.0.1", 0))
        program = (
            "import socket\ntry:\n"
            f"    socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 1)\n"
            "    print('reached')\nexcept OSError as error:\n    print('not reached')"
        )
        with server, caplog.at_level(logging.WARNING):
            text = await run(program)
        warned = "could reach the network" in caplog.text
        assert text == ("reached\n" if warned else "not reached\n")

    async def test_windows_is_not_supported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sprint_agent.executors.python.executor._POSIX", False)
        with pytest.raises(ExecutorError, match="Linux or macOS"):
            await run("print(1)")


def keeps_open(pipe: Path) -> str:
    """Returns code that keeps `pipe` open: its reader sees the end of the process."""
    return f"f = open({str(pipe)!r}, 'wb', buffering=0)\nf.write(b'x')\n"


class TestEnds:
    async def test_cancelling_kills_the_program(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(run, keeps_open(pipe) + BUSY, PythonExecutor(seconds=60))
                file = await in_thread(lambda: pipe.open("rb"))
                assert file.read(1) == b"x"
                group.cancel_scope.cancel()
            assert await in_thread(file.read) == b""
        file.close()

    @pytest.mark.parametrize("away", ["", "os.setsid()"])
    async def test_child_processes_end_with_it(
        self, tmp_path: Path, away: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        program = (
            "import os, signal, time\n"
            "try:\n    child = os.fork()\nexcept OSError:\n    child = None\n"
            f"if child == 0:\n    {away or 'pass'}\n"
            "    signal.signal(signal.SIGHUP, signal.SIG_IGN)\n    time.sleep(20)\n"
        )
        with anyio.fail_after(10), caplog.at_level(logging.WARNING):
            async with anyio.create_task_group() as group:
                group.start_soon(run, keeps_open(pipe) + program)
                file = await in_thread(lambda: pipe.open("rb"))
                assert file.read(1) == b"x"
            if away and caplog.records and os.geteuid() == 0:
                pytest.skip("the superuser may fork, and there are no namespaces here")
            assert await in_thread(file.read) == b""
        file.close()
