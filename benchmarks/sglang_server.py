"""A real SGLang server on this machine's CPU, for as long as a block lasts.

SGLang pins openai, torch and transformers, so it lives in an environment of its own, whose interpreter
is given. `sglang_cpu.py` is what that interpreter runs.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx2

from sprint_agent import EngineUnavailable

_SCRIPT = Path(__file__).parent / "sglang_cpu.py"
_READY_SECONDS = 300.0
_LOG_CHARACTERS = 2000


@contextmanager
def sglang_server(python: Path, model: Path, flags: Sequence[str] = ()) -> Iterator[str]:
    """Serves a Hugging Face folder while entered, and says at which URL.

    `python` is the interpreter of an environment with SGLang, `flags` are passed on to the server.
    It takes 30 to 100 seconds. Raises EngineUnavailable where it does not
    come up; the end of its log is then on stderr.
    """
    url = f"http://127.0.0.1:{_free_port()}"
    with tempfile.TemporaryFile("w+") as log, _started(python, model, url, flags, log) as process:
        _wait(url, process, log)
        yield url


@contextmanager
def _started(
    python: Path, model: Path, url: str, flags: Sequence[str], log: IO[str]
) -> Iterator[subprocess.Popen[str]]:
    port = url.rpartition(":")[2]
    command = [str(python), str(_SCRIPT), "--model-path", str(model), "--port", port, *flags]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # On SIGTERM it drains, and its scheduler may poll on for ever.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[str], log: IO[str]) -> None:
    """Returns when the server answers."""
    deadline = time.monotonic() + _READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx2.get(f"{url}/health", timeout=5.0).is_success:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(1.0)
    log.seek(0)
    print(log.read()[-_LOG_CHARACTERS:], file=sys.stderr)
    raise EngineUnavailable(f"SGLang did not come up at {url}: its log ends as above")
